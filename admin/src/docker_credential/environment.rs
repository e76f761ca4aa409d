//! Environment variables and files of the user's: what is not set, or not there,
//! is none; what cannot be read is an error.

use std::env::{self, VarError};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::Failure;

/// More than this is the wrong file.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Longer waits only hide that a registry is stuck.
const TIMEOUT_MAX: Duration = Duration::from_hours(1);

const TIMEOUT: &str = "ENTREPOT_TIMEOUT";

/// The value of a variable; an empty one is none.
pub(crate) fn variable(name: &'static str) -> Result<Option<String>, Failure> {
    match env::var(name) {
        Ok(value) => Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Failure::VariableMalformed { name }),
    }
}

/// The file or folder that a variable names.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// `below` in the user's folder, where there is one.
pub(crate) fn at_home(below: &str) -> Option<PathBuf> {
    Some(env::home_dir()?.join(below))
}

/// The text of a file, none if there is no such file.
pub(crate) fn text(path: &Path) -> Result<Option<String>, Failure> {
    let place = || path.display().to_string();
    let mut text = String::new();
    let read = match File::open(path) {
        Ok(file) => file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => Err(cause),
    };
    match read {
        Ok(length) if length as u64 > FILE_BYTES_MAX => {
            Err(Failure::FileTooLong { place: place() })
        }
        Ok(_) => Ok(Some(text)),
        Err(cause) => Err(Failure::FileUnreadable {
            place: place(),
            cause,
        }),
    }
}

/// How long asking the registry may take.
pub(crate) fn timeout() -> Result<Duration, Failure> {
    let Some(text) = variable(TIMEOUT)? else {
        return Ok(TIMEOUT_DEFAULT);
    };
    match humantime::parse_duration(&text) {
        Ok(timeout) if !timeout.is_zero() && timeout <= TIMEOUT_MAX => Ok(timeout),
        _ => Err(Failure::TimeoutMalformed),
    }
}
