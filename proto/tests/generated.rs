//! The generated code in git is what the `.proto` files say.
//!
//! `ENTREPOT_REGENERATE=1 cargo test -p entrepot-proto --test generated` writes it anew.

use std::path::Path;

const PROTOS: [&str; 3] = ["peer.proto", "admin.proto", "registry.proto"];
const GENERATED: [&str; 3] = [
    "entrepot.peer.v1.rs",
    "entrepot.admin.v1.rs",
    "entrepot.v1.rs",
];

/// They hold secrets, and are not printed by chance.
const SECRETS: [&str; 4] = [
    "entrepot.peer.v1.JoinRequest",
    "entrepot.peer.v1.JoinReply",
    "entrepot.admin.v1.CreateJoinTokenReply",
    "entrepot.admin.v1.AccessKey",
];

#[test]
fn generated_code_matches_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(PROTOS, [root.join("proto")]).unwrap();
    tonic_prost_build::configure()
        .bytes(".")
        .skip_debug(SECRETS)
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();

    for name in GENERATED {
        let fresh = std::fs::read_to_string(out.path().join(name)).unwrap();
        let kept = root.join("src/gen").join(name);
        if std::env::var_os("ENTREPOT_REGENERATE").is_some() {
            std::fs::write(&kept, &fresh).unwrap();
        }
        assert!(
            std::fs::read_to_string(&kept).is_ok_and(|text| text == fresh),
            "{} is stale: run ENTREPOT_REGENERATE=1 cargo test -p entrepot-proto --test generated",
            kept.display()
        );
    }
}
