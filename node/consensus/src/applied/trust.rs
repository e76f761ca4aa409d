//! Whether what sled holds may be believed.
//!
//! A small file beside the database says whether it was stopped cleanly, and
//! on which boot of the machine it was last open.

use std::fs;
use std::io;
use std::path::Path;

use crate::durable;

const FILE: &str = "state";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Layout of keys and values that this version reads. A database with another
/// one is built again, not converted.
const LAYOUT: &str = "2";

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trust {
    layout: String,
    boot: String,
    clean: bool,
}

impl Trust {
    /// While the database is open.
    pub(super) fn running() -> Self {
        Self {
            layout: LAYOUT.to_owned(),
            boot: boot_id(),
            clean: false,
        }
    }

    /// Once it is on the disk and nobody writes.
    pub(super) fn stopped() -> Self {
        Self {
            clean: true,
            ..Self::running()
        }
    }

    /// When it failed: no boot id is this one.
    pub(super) fn broken() -> Self {
        Self {
            boot: String::new(),
            ..Self::running()
        }
    }

    /// What cannot be read says nothing, which is not to be believed.
    pub(super) fn read(dir: &Path) -> Self {
        let mut trust = Self::default();
        for line in fs::read_to_string(dir.join(FILE))
            .unwrap_or_default()
            .lines()
        {
            match line.split_once(' ') {
                Some(("layout", value)) => value.clone_into(&mut trust.layout),
                Some(("boot", value)) => value.clone_into(&mut trust.boot),
                Some(("clean", value)) => trust.clean = value == "yes",
                _ => {}
            }
        }
        trust
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let clean = if self.clean { "yes" } else { "no" };
        let text = format!(
            "layout {}\nboot {}\nclean {clean}\n",
            self.layout, self.boot
        );
        durable::replace_file(&dir.join(FILE), text.as_bytes())
    }

    /// Why the database is not to be believed; nothing if it is.
    pub(super) fn doubt(&self) -> Option<String> {
        if self.layout != LAYOUT {
            return Some(format!("its layout is {:?}, not {LAYOUT:?}", self.layout));
        }
        let same_boot = !self.boot.is_empty() && self.boot == boot_id();
        if self.clean || same_boot {
            return None;
        }
        Some("it was not stopped cleanly before the machine restarted".to_owned())
    }
}

/// Changes with every start of the machine; empty where there is none, which
/// counts as changed.
fn boot_id() -> String {
    let text = fs::read_to_string(BOOT_ID).unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for trust in [Trust::running(), Trust::stopped(), Trust::broken()] {
            trust.write(dir.path()).unwrap();
            assert_eq!(Trust::read(dir.path()), trust);
        }
    }

    #[test]
    fn only_a_clean_stop_survives_a_reboot() {
        let elsewhere = |trust: Trust| Trust {
            boot: "another".to_owned(),
            ..trust
        };
        assert_eq!(Trust::running().doubt(), None);
        assert_eq!(Trust::stopped().doubt(), None);
        assert_eq!(elsewhere(Trust::stopped()).doubt(), None);
        assert!(elsewhere(Trust::running()).doubt().is_some());
        assert!(Trust::broken().doubt().is_some());
    }

    #[test]
    fn no_file_is_no_trust() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Trust::read(dir.path()).doubt().is_some());
    }
}
