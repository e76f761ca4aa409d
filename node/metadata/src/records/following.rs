//! Settings of repositories that follow them to other regions.

/// The settings of a repository are to go to a destination as they are.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SettingsTaskRecord {
    /// Log index of the last change that asked for it.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
}

/// The newest settings of a source that a repository here was given, whatever was
/// changed here since.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SettingsOriginRecord {
    /// Log index in the source's group.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
}
