//! What the way back for deleted images answers.

/// What came back.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImageRestored {
    /// The image itself, and those of its manifests that had been deleted too.
    #[prost(uint64, tag = "1")]
    pub manifests: u64,
    /// Tags that point to it again; sorted.
    #[prost(string, repeated, tag = "2")]
    pub tags: Vec<String>,
    /// Tags that it had and that point to other images by now: they stay there.
    #[prost(string, repeated, tag = "3")]
    pub tags_kept: Vec<String>,
    /// Tasks enqueued.
    #[prost(uint32, tag = "4")]
    pub tasks: u32,
}

/// What went for good.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DeletedExpired {
    #[prost(uint64, tag = "1")]
    pub images: u64,
    /// There was no room for all of them: the others are to be named again.
    #[prost(bool, tag = "2")]
    pub more: bool,
}
