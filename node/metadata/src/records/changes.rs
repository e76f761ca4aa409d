//! What an entry of the log changed in repositories, as its slot remembers it.

/// What one entry changed, by repository.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChangesRecord {
    #[prost(message, repeated, tag = "1")]
    pub repositories: Vec<RepositoryChangesRecord>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RepositoryChangesRecord {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(message, repeated, tag = "3")]
    pub changes: Vec<ChangeRecord>,
    /// The entry changed more of the repository than is listed.
    #[prost(bool, tag = "4")]
    pub truncated: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChangeRecord {
    #[prost(oneof = "change_record::Kind", tags = "1, 2, 3, 4, 25")]
    pub kind: Option<change_record::Kind>,
}

pub mod change_record {
    use super::{ManifestPutRecord, StorageClassRecord, TagDeletedRecord, TagMovedRecord};

    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        ManifestPut(ManifestPutRecord),
        /// Its digest.
        #[prost(string, tag = "2")]
        ManifestDeleted(String),
        #[prost(message, tag = "3")]
        TagMoved(TagMovedRecord),
        #[prost(message, tag = "4")]
        TagDeleted(TagDeletedRecord),
        #[prost(message, tag = "25")]
        StorageClass(StorageClassRecord),
    }
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ManifestPutRecord {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(string, tag = "2")]
    pub media_type: String,
    #[prost(string, optional, tag = "3")]
    pub artifact_type: Option<String>,
    /// Digest.
    #[prost(string, optional, tag = "4")]
    pub subject: Option<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TagMovedRecord {
    #[prost(string, tag = "1")]
    pub tag: String,
    #[prost(string, tag = "2")]
    pub digest: String,
    /// The digest that it pointed to before; unset: there was no such tag.
    #[prost(string, optional, tag = "3")]
    pub previous: Option<String>,
    /// The region where it was pushed; unset: this one.
    #[prost(string, optional, tag = "4")]
    pub source_region: Option<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TagDeletedRecord {
    #[prost(string, tag = "1")]
    pub tag: String,
    /// The digest that it pointed to.
    #[prost(string, optional, tag = "2")]
    pub previous: Option<String>,
}

/// A manifest went into the archive, or came back.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StorageClassRecord {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(bool, tag = "2")]
    pub archived: bool,
}
