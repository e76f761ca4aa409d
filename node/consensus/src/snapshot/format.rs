//! The bytes of a snapshot file.
//!
//! ```text
//! magic "ENTRSNAP", u32 format version
//! u32 length, then the header: a protobuf `SnapshotHeader`
//! per pair: u32 length of the key, u32 length of the value, key, value
//! u32 0xffffffff, u64 number of pairs
//! BLAKE3 of everything before, 32 bytes
//! ```
//!
//! Numbers are little endian, keys ascend. Nothing in a file is used before
//! its checksum has been verified.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use entrepot_metadata::StorageError;
use entrepot_proto::peer;
use prost::Message;

use crate::types::SnapshotMeta;
use crate::wire;

const MAGIC: &[u8; 8] = b"ENTRSNAP";
const FORMAT: u32 = 1;
const END: u32 = u32::MAX;
const TRAILER_BYTES: usize = blake3::OUT_LEN;
const BUFFER_BYTES: usize = 256 * 1024;

/// Lengths beyond these are damage, not data.
const HEADER_BYTES_MAX: u32 = 1024 * 1024;
const KEY_BYTES_MAX: u32 = 64 * 1024;
const VALUE_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("cannot access the snapshot {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the snapshot {path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("the snapshot {path} has format {found}; this version knows {FORMAT}")]
    Format { path: PathBuf, found: u32 },
    #[error("cannot read the state for a snapshot")]
    State(#[source] StorageError),
}

/// Writes a snapshot front to back.
#[derive(Debug)]
pub(super) struct Writer<W: Write> {
    out: BufWriter<Hashing<W>>,
    pairs: u64,
}

#[derive(Debug)]
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
}

/// The pairs of a snapshot that has been verified.
#[derive(Debug)]
pub(crate) struct Pairs {
    path: PathBuf,
    input: BufReader<File>,
    done: bool,
}

// === impl SnapshotError ===

impl SnapshotError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

// === writing ===

impl<W: Write> Writer<W> {
    pub(super) fn begin(inner: W, group: &str, meta: &SnapshotMeta) -> io::Result<Self> {
        let hashing = Hashing {
            inner,
            hasher: blake3::Hasher::new(),
        };
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, hashing);
        let header = wire::meta_to_wire(group, meta).encode_to_vec();
        out.write_all(MAGIC)?;
        out.write_all(&FORMAT.to_le_bytes())?;
        out.write_all(&length(&header)?)?;
        out.write_all(&header)?;
        Ok(Self { out, pairs: 0 })
    }

    pub(super) fn pair(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.pairs += 1;
        self.out.write_all(&length(key)?)?;
        self.out.write_all(&length(value)?)?;
        self.out.write_all(key)?;
        self.out.write_all(value)
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&END.to_le_bytes())?;
        self.out.write_all(&self.pairs.to_le_bytes())?;
        let hashing = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let Hashing { mut inner, hasher } = hashing;
        inner.write_all(hasher.finalize().as_bytes())?;
        inner.flush()
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn length(bytes: &[u8]) -> io::Result<[u8; 4]> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok(length.to_le_bytes())
}

// === reading ===

/// Checks the whole file and returns what it is a snapshot of.
pub(super) fn verify(path: &Path, group: &str) -> Result<SnapshotMeta, SnapshotError> {
    let io = |source| SnapshotError::io(path, source);
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let content = length
        .checked_sub(TRAILER_BYTES as u64)
        .ok_or_else(|| SnapshotError::damaged(path, "it is too short"))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = content;
    while left > 0 {
        let part = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(BUFFER_BYTES);
        file.read_exact(&mut buffer[..part]).map_err(io)?;
        hasher.update(&buffer[..part]);
        left -= part as u64;
    }
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact(&mut trailer).map_err(io)?;
    if hasher.finalize() != trailer {
        return Err(SnapshotError::damaged(path, "the checksum does not match"));
    }
    let mut input = BufReader::new(File::open(path).map_err(io)?);
    let header = read_header(path, &mut input)?;
    if header.group != group {
        let reason = format!("it is of group {}, not {group}", header.group);
        return Err(SnapshotError::damaged(path, reason));
    }
    wire::meta_from_wire(&header).map_err(|error| SnapshotError::damaged(path, error.to_string()))
}

fn read_header(path: &Path, input: &mut impl Read) -> Result<peer::SnapshotHeader, SnapshotError> {
    let io = |source| SnapshotError::io(path, source);
    let mut magic = [0; 8];
    input.read_exact(&mut magic).map_err(io)?;
    if &magic != MAGIC {
        return Err(SnapshotError::damaged(path, "it is not a snapshot"));
    }
    let found = read_u32(input).map_err(io)?;
    if found != FORMAT {
        let path = path.to_owned();
        return Err(SnapshotError::Format { path, found });
    }
    let length = read_u32(input).map_err(io)?;
    if length > HEADER_BYTES_MAX {
        return Err(SnapshotError::damaged(path, "its header is too long"));
    }
    let header = read_bytes(input, length).map_err(io)?;
    peer::SnapshotHeader::decode(header)
        .map_err(|error| SnapshotError::damaged(path, error.to_string()))
}

impl Pairs {
    /// `path` must have been verified.
    pub(super) fn open(path: &Path) -> Result<Self, SnapshotError> {
        let file = File::open(path).map_err(|source| SnapshotError::io(path, source))?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
        read_header(path, &mut input)?;
        Ok(Self {
            path: path.to_owned(),
            input,
            done: false,
        })
    }

    fn read(&mut self) -> io::Result<Option<(Bytes, Bytes)>> {
        let key = read_u32(&mut self.input)?;
        if key == END {
            return Ok(None);
        }
        let value = read_u32(&mut self.input)?;
        if key > KEY_BYTES_MAX || value > VALUE_BYTES_MAX {
            return Err(io::Error::other("a key or value is too long"));
        }
        let key = read_bytes(&mut self.input, key)?;
        let value = read_bytes(&mut self.input, value)?;
        Ok(Some((key, value)))
    }
}

impl Iterator for Pairs {
    type Item = Result<(Bytes, Bytes), SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let read = self.read();
        self.done = !matches!(read, Ok(Some(_)));
        let path = &self.path;
        read.map_err(|source| SnapshotError::io(path, source))
            .transpose()
    }
}

fn read_u32(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_bytes(input: &mut impl Read, length: u32) -> io::Result<Bytes> {
    let mut bytes = vec![0; length as usize];
    input.read_exact(&mut bytes)?;
    Ok(Bytes::from(bytes))
}
