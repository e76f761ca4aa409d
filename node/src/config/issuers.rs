//! `[[issuers]]`: the keys of those who issue web identities, where they are not to be
//! fetched.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// One of them, as the file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerFile {
    issuer: String,
    keys_file: PathBuf,
}

/// The files by the names of issuers, without `https://`.
pub(super) fn key_files(issuers: Vec<IssuerFile>) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for issuer in issuers {
        let name = issuer.issuer.strip_prefix("https://");
        let name = name.map(|name| name.trim_end_matches('/'));
        let name = name
            .filter(|name| !name.is_empty())
            .with_context(|| format!("issuers: {}: must begin with https://", issuer.issuer))?;
        let before = files.insert(name.to_owned(), issuer.keys_file);
        ensure!(before.is_none(), "issuers: {name} is there twice");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        issuers: Vec<IssuerFile>,
    }

    fn read(text: &str) -> anyhow::Result<BTreeMap<String, PathBuf>> {
        key_files(toml::from_str::<File>(text)?.issuers)
    }

    #[test]
    fn an_issuer_has_one_file() {
        let one = "[[issuers]]\nissuer = \"https://k8s.example/a/\"\nkeys_file = \"/keys\"\n";
        let found = read(one).unwrap();
        assert_eq!(found["k8s.example/a"], PathBuf::from("/keys"));
        for wrong in [
            format!("{one}{one}"),
            one.replace("https", "http"),
            one.replace("keys_file", "keys"),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
