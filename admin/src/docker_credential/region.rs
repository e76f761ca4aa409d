//! The region whose registry is asked: it is part of what is signed.

use entrepot_oci::RegionName;

use crate::environment::variable;
use crate::failure::Failure;
use crate::profile::ProfileFile;
use crate::server::Server;

const VARIABLES: [&str; 3] = ["ENTREPOT_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"];

/// The region of `server`: of its name, else what the user set.
pub(crate) fn of(server: &Server) -> Result<RegionName, Failure> {
    if let Some(region) = server.region() {
        return Ok(region);
    }
    let parse = |text: &str, origin: String| {
        text.parse()
            .map_err(|cause| Failure::RegionMalformed { origin, cause })
    };
    for name in VARIABLES {
        if let Some(text) = variable(name)? {
            return parse(&text, name.to_owned());
        }
    }
    let found = ProfileFile::Config.read()?;
    let region = found.profile.as_ref().and_then(|p| p.get("region"));
    match region.filter(|text| !text.is_empty()) {
        Some(text) => parse(
            text,
            format!("the profile {:?} of {}", found.name, found.place),
        ),
        None => Err(Failure::RegionMissing {
            server: server.clone(),
            place: found.place,
        }),
    }
}
