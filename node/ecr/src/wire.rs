//! The two forms in which values go over the wire, and nothing of what they mean.

pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod xml;
