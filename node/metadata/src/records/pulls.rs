//! When images were last pulled.

/// The last pull of an image that was recorded: within the hour the true one.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PullRecord {
    #[prost(int64, tag = "1")]
    pub pulled_at_ms: i64,
}

/// Since when pulls are recorded: of the time before nobody knows anything.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PullsSinceRecord {
    #[prost(int64, tag = "1")]
    pub since_ms: i64,
}
