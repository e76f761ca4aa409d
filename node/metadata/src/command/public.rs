//! Which commands are about public registries, of which older versions know
//! nothing.

use entrepot_oci::RegistryId;

use super::Command;
use crate::records::settings::{ItemKind, TextKind};

/// The level that brought public registries.
pub(super) const LEVEL: u32 = 9;

impl Command {
    /// Whether it changes a public registry, or has what only those have.
    pub(super) fn is_of_public_registry(&self) -> bool {
        self.registry().is_some_and(is_public) || self.has_catalog()
    }

    /// The registry that it changes, where that may be a public one.
    fn registry(&self) -> Option<&str> {
        Some(match self {
            Self::CreateRepository(it) => &it.account,
            Self::DeleteRepository(it) => &it.account,
            Self::LinkBlob(it) => &it.account,
            Self::MountBlob(it) => &it.account,
            Self::UnlinkBlob(it) => &it.account,
            Self::PutManifest(it) => &it.account,
            Self::DeleteManifest(it) => &it.account,
            Self::DeleteTag(it) => &it.account,
            Self::PutRegistrySettings(it) => &it.account,
            Self::PutRepositorySettings(it) => &it.account,
            Self::CountHeld(it) => &it.account,
            Self::TagRepository(it) => &it.account,
            Self::PutRepositoryText(it) => &it.account,
            Self::PutRegistryItem(it) => &it.account,
            Self::DeleteRegistryItem(it) => &it.account,
            _ => return None,
        })
    }

    fn has_catalog(&self) -> bool {
        match self {
            Self::CreateRepository(it) => {
                let spec = it.spec.as_ref();
                spec.is_some_and(|spec| !spec.catalog.is_empty())
            }
            Self::PutRepositoryText(it) => it.kind == i32::from(TextKind::Catalog),
            Self::PutRegistryItem(it) => it.kind == i32::from(ItemKind::CatalogData),
            Self::DeleteRegistryItem(it) => it.kind == i32::from(ItemKind::CatalogData),
            _ => false,
        }
    }
}

fn is_public(registry: &str) -> bool {
    let registry = registry.parse::<RegistryId>();
    registry.is_ok_and(|registry| registry.is_public())
}

#[cfg(test)]
mod tests {
    use entrepot_oci::{AccountId, RegistryId};

    use super::LEVEL;
    use crate::command::{
        Command, CreateRepository, DeleteRegistryItem, PutRegistryItem, PutRepositoryText,
        RepositorySpec, UnlinkBlob,
    };
    use crate::records::settings::{ItemKind, TextKind};

    #[test]
    fn older_versions_are_not_given_what_is_of_public_registries() {
        let account: AccountId = "123456789012".parse().unwrap();
        let public = RegistryId::public(&account);
        let repository = "team/app".parse().unwrap();
        let digest = entrepot_oci::Digest::of(entrepot_oci::Algorithm::Sha256, b"");
        let text = |registry: &RegistryId, kind| -> Command {
            PutRepositoryText::new(registry, &repository, kind, "{}", 1).into()
        };
        let with_catalog = CreateRepository {
            spec: Some(RepositorySpec {
                catalog: "{}".to_owned(),
                ..RepositorySpec::default()
            }),
            ..CreateRepository::new(&account, &repository, 1)
        };
        let item = ItemKind::CatalogData;
        for command in [
            CreateRepository::new(&public, &repository, 1).into(),
            UnlinkBlob::new(&public, &repository, &digest).into(),
            text(&public, TextKind::Policy),
            text(&account, TextKind::Catalog),
            with_catalog.into(),
            PutRegistryItem::new(&account, item, "", "{}", 1).into(),
            DeleteRegistryItem::new(&account, item, "").into(),
        ] {
            assert_eq!(Command::level(&command), LEVEL, "{command:?}");
        }
        let private: [Command; 3] = [
            CreateRepository::new(&account, &repository, 1).into(),
            UnlinkBlob::new(&account, &repository, &digest).into(),
            text(&account, TextKind::Policy),
        ];
        assert!(private.iter().all(|command| command.level() < LEVEL));
    }
}
