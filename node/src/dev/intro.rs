//! What `dev` prints when its cluster serves.

use std::path::Path;

use super::Cluster;

/// Prints the nodes, the credentials and what to do next.
pub(super) fn print(cluster: &Cluster, demo: bool) {
    let data = match &cluster.kept_in {
        Some(data) => format!("kept in {}", data.display()),
        None => "removed at exit (keep it by --data DIR)".to_owned(),
    };
    println!(
        "Entrepot {} is running: {} nodes, data {data}\n",
        env!("CARGO_PKG_VERSION"),
        cluster.nodes.len()
    );
    println!("  {:<6}{:<14}clients connect to", "node", "region");
    for node in &cluster.nodes {
        println!("  {:<6}{:<14}http://{}", node.id, node.region, node.client);
    }
    println!("\n  account   {}", cluster.account);
    println!("  user      {}", cluster.user);
    println!("  password  {}", cluster.password);
    if !demo {
        print_next(cluster);
    }
}

fn print_next(cluster: &Cluster) {
    let Some(first) = cluster.first_node_of(0) else {
        return;
    };
    let (address, user, password) = (first.client, &cluster.user, &cluster.password);
    println!("\nLog in and push (any node will do):");
    println!("  skopeo login --tls-verify=false -u {user} -p {password} {address}");
    println!("  skopeo copy --dest-tls-verify=false SOURCE docker://{address}/hello:v1");
    println!("or");
    println!("  docker login -u {user} -p {password} {address}");
    println!("  docker tag IMAGE {address}/hello:v1 && docker push {address}/hello:v1");
    if let Some(second) = cluster.first_node_of(1) {
        println!(
            "\nReplicate every push in {} to {}:",
            first.region, second.region
        );
        println!("  export ENTREPOT_USER={user} ENTREPOT_PASSWORD={password}");
        println!(
            "  {} --endpoint http://{address} rule put everything --to {}",
            client(),
            second.region
        );
        println!("and pull it there:");
        println!(
            "  docker login -u {user} -p {password} {0} && docker pull {0}/hello:v1",
            second.client
        );
    }
    println!("\nCtrl-C stops the cluster.");
}

/// How to call the command line client: beside this program if it was built.
fn client() -> String {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join("entrepot")))
        .filter(|path| path.exists());
    match beside {
        Some(path) => relative(&path),
        None => "cargo run --release -p entrepot-admin --".to_owned(),
    }
}

fn relative(path: &Path) -> String {
    std::env::current_dir()
        .ok()
        .and_then(|current| path.strip_prefix(current).ok().map(Path::to_owned))
        .unwrap_or_else(|| path.to_owned())
        .display()
        .to_string()
}
