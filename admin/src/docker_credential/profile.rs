//! Profiles in `~/.aws/credentials` and `~/.aws/config`: AWS's dialect of INI.
//!
//! An error names a line by its number: the line may hold a secret.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::environment;
use crate::failure::Failure;

const PROFILE: &str = "AWS_PROFILE";
const PROFILE_DEFAULT: &str = "default";

/// One of AWS's two files of profiles.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ProfileFile {
    Credentials,
    Config,
}

/// The keys and values of one profile.
pub(crate) type Profile = BTreeMap<String, String>;

/// What was looked for, and what was found.
pub(crate) struct Found {
    /// The file, for people.
    pub(crate) place: String,
    /// The profile's name.
    pub(crate) name: String,
    /// Whether the user named it; else it is the default.
    pub(crate) is_named: bool,
    pub(crate) profile: Option<Profile>,
}

// === impl ProfileFile ===

impl ProfileFile {
    fn path(self) -> Option<PathBuf> {
        let (variable, below_home) = match self {
            Self::Credentials => ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
            Self::Config => ("AWS_CONFIG_FILE", ".aws/config"),
        };
        environment::path(variable).or_else(|| environment::at_home(below_home))
    }

    /// The profile's name, from that of its section.
    fn profile_of(self, section: &str) -> Option<&str> {
        match self {
            Self::Credentials => Some(section),
            Self::Config if section == PROFILE_DEFAULT => Some(section),
            Self::Config => section
                .strip_prefix("profile")
                .filter(|rest| rest.starts_with(char::is_whitespace))
                .map(|name| name.trim().trim_matches('"')),
        }
    }

    /// The user's profile in this file.
    pub(crate) fn read(self) -> Result<Found, Failure> {
        let named = environment::variable(PROFILE)?;
        let is_named = named.is_some();
        let name = named.unwrap_or_else(|| PROFILE_DEFAULT.to_owned());
        let path = self.path();
        let place = match &path {
            Some(path) => path.display().to_string(),
            None => "~/.aws".to_owned(),
        };
        let text = match path {
            Some(path) => environment::text(&path)?,
            None => None,
        };
        let profile = match text {
            Some(text) => self
                .find(&text, &name)
                .map_err(|line| Failure::ProfilesMalformed {
                    place: place.clone(),
                    line,
                })?,
            None => None,
        };
        Ok(Found {
            place,
            name,
            is_named,
            profile,
        })
    }

    /// The profile `wanted` of a file's text; else the number of the line that
    /// makes no sense.
    fn find(self, text: &str, wanted: &str) -> Result<Option<Profile>, usize> {
        let mut found: Option<Profile> = None;
        let mut is_wanted = false;
        let mut has_section = false;
        // How far the last key is indented: what is further in belongs to it.
        let mut key_indent = None;
        let text = text.trim_start_matches('\u{feff}');
        for (index, line) in text.lines().enumerate() {
            let content = without_comment(line);
            let indent = line.len() - line.trim_start().len();
            if content.is_empty() {
                continue;
            }
            if let Some(section) = content.strip_prefix('[') {
                let section = section.strip_suffix(']').ok_or(index + 1)?;
                is_wanted = self.profile_of(section.trim()) == Some(wanted);
                has_section = true;
                key_indent = None;
                if is_wanted {
                    found.get_or_insert_default();
                }
                continue;
            }
            if key_indent.is_some_and(|key| indent > key) {
                continue;
            }
            let (key, value) = content.split_once('=').ok_or(index + 1)?;
            if !has_section {
                return Err(index + 1);
            }
            key_indent = Some(indent);
            if let Some(profile) = found.as_mut().filter(|_| is_wanted) {
                profile.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
        Ok(found)
    }
}

/// A comment is a line of its own, or stands behind a blank.
fn without_comment(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return "";
    }
    let ends = [" #", " ;", "\t#", "\t;"];
    let end = ends.iter().filter_map(|start| line.find(start)).min();
    line[..end.unwrap_or(line.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use super::{Profile, ProfileFile};

    fn profile(pairs: &[(&str, &str)]) -> Profile {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_profile_of_the_credentials_is_its_section() {
        let text = "\u{feff}# mine\r\n[default]\r\naws_access_key_id = AKIA1\r\n\
                    AWS_Secret_Access_Key=a/b+c==#d ; old\r\n\n[other]\n  region = x\n  y=z\n\
                    [ default ]\nregion=eu-west-1\n";
        let find = |name| ProfileFile::Credentials.find(text, name).unwrap();
        assert_eq!(
            find("default"),
            Some(profile(&[
                ("aws_access_key_id", "AKIA1"),
                ("aws_secret_access_key", "a/b+c==#d"),
                ("region", "eu-west-1"),
            ]))
        );
        assert_eq!(find("other"), Some(profile(&[("region", "x"), ("y", "z")])));
        assert_eq!(find("nobody"), None);
    }

    #[test]
    fn a_profile_of_the_config_says_that_it_is_one() {
        let text = "[default]\nregion = a\ns3 =\n    region = nested\n  also nested\n\
                    [profile ci]\nregion = b\n[ci]\nregion = c\n[profile \"two words\"]\nregion=d\n\
                    [profiles]\nregion = e\n";
        let find = |name| ProfileFile::Config.find(text, name).unwrap();
        assert_eq!(
            find("default"),
            Some(profile(&[("region", "a"), ("s3", "")]))
        );
        assert_eq!(find("ci"), Some(profile(&[("region", "b")])));
        assert_eq!(find("two words"), Some(profile(&[("region", "d")])));
        assert_eq!(find("s"), None);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named_by_its_number() {
        for (text, line) in [
            ("[default]\n\naws_secret\n", 3),
            ("[default\n", 1),
            ("# x\na = b\n", 2),
        ] {
            assert_eq!(
                ProfileFile::Credentials.find(text, "default"),
                Err(line),
                "{text}"
            );
        }
        assert_eq!(ProfileFile::Credentials.find("", "default"), Ok(None));
    }
}
