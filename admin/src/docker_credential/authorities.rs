//! Whom this program believes that they are the registry: the authorities of
//! `ENTREPOT_CA_FILE`, else those that the machine trusts. As `entrepot` has it.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts};

use crate::environment;
use crate::failure::Failure;

const CA_FILE: &str = "ENTREPOT_CA_FILE";

pub(crate) fn read() -> Result<RootCerts, Failure> {
    let authorities = match environment::path(CA_FILE) {
        Some(path) => {
            let place = path.display().to_string();
            let pem = environment::text(&path)?.ok_or_else(|| Failure::AuthoritiesMissing {
                place: place.clone(),
            })?;
            parse(pem.as_bytes()).ok_or(Failure::AuthoritiesMalformed { place })?
        }
        // Of many files, one may be broken without need.
        None => match rustls_native_certs::load_native_certs().certs {
            none if none.is_empty() => return Err(Failure::NoAuthorities),
            certificates => certificates,
        },
    };
    let owned = |certificate: CertificateDer<'_>| Certificate::from_der(&certificate).to_owned();
    Ok(RootCerts::new_with_certs(
        &authorities.into_iter().map(owned).collect::<Vec<_>>(),
    ))
}

/// The certificates of a file that holds some and nothing broken.
fn parse(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    found.ok().filter(|found| !found.is_empty())
}
