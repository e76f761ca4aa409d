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
//! all of it has been verified.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use entrepot_metadata::{LEVEL, StorageError};
use entrepot_proto::peer;
use prost::Message;

use crate::files::{Files, Mode, Stream};
use crate::types::Position;
use crate::wire;

const MAGIC: &[u8; 8] = b"ENTRSNAP";
const FORMAT: u32 = 1;
const END: u32 = u32::MAX;
pub(super) const TRAILER_BYTES: usize = blake3::OUT_LEN;
const BUFFER_BYTES: usize = 256 * 1024;
/// What is set aside for a key or a value before any of it is read.
const READ_BYTES_FIRST: usize = 4 * 1024;

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
    #[error(
        "the snapshot {path} is of level {level}, and this version of entrepot-node understands \
         {LEVEL}: start the version that the other nodes run"
    )]
    Newer { path: PathBuf, level: u32 },
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
    input: BufReader<Stream>,
    done: bool,
}

/// What is wrong with the bytes, wherever they are.
#[derive(Debug)]
enum Flaw {
    Io(io::Error),
    Damage(&'static str),
    Format(u32),
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

// === impl Flaw ===

impl Flaw {
    fn of(self, path: &Path) -> SnapshotError {
        match self {
            Self::Io(source) => SnapshotError::io(path, source),
            Self::Damage(reason) => SnapshotError::damaged(path, reason),
            Self::Format(found) => SnapshotError::Format {
                path: path.to_owned(),
                found,
            },
        }
    }
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Damage("it ends early")
        } else {
            Self::Io(error)
        }
    }
}

// === writing ===

impl<W: Write> Writer<W> {
    pub(super) fn begin(inner: W, group: &str, position: &Position) -> io::Result<Self> {
        let hashing = Hashing {
            inner,
            hasher: blake3::Hasher::new(),
        };
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, hashing);
        let header = wire::position_to_wire(group, position).encode_to_vec();
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

/// A whole snapshot.
#[cfg(test)]
pub(crate) fn write_pairs<W: Write>(
    out: W,
    group: &str,
    position: &Position,
    pairs: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
) -> io::Result<()> {
    let mut writer = Writer::begin(out, group, position)?;
    for (key, value) in pairs {
        writer.pair(key.as_ref(), value.as_ref())?;
    }
    writer.finish()
}

fn length(bytes: &[u8]) -> io::Result<[u8; 4]> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok(length.to_le_bytes())
}

// === reading ===

/// Checks the whole file and returns what it is a snapshot of: the checksum,
/// and that everything up to it reads as a snapshot. What has passed once can be
/// read to its end, so that a peer's mistake is met before its snapshot counts.
/// One of a state that this version does not understand is refused.
pub(super) fn verify(
    files: &dyn Files,
    path: &Path,
    group: &str,
) -> Result<Position, SnapshotError> {
    let checked = check(files, path).map_err(|flaw| flaw.of(path))?;
    if checked.group != group {
        let reason = format!("it is of group {}, not {group}", checked.group);
        return Err(SnapshotError::damaged(path, reason));
    }
    let position = wire::position_from_wire(&checked)
        .map_err(|error| SnapshotError::damaged(path, error.to_string()))?;
    if position.level > LEVEL {
        return Err(SnapshotError::Newer {
            path: path.to_owned(),
            level: position.level,
        });
    }
    Ok(position)
}

fn check(files: &dyn Files, path: &Path) -> Result<peer::SnapshotHeader, Flaw> {
    let handle = files.open(path, Mode::Read)?;
    let length = handle.length()?;
    // First of all: a later release may have put its checksum elsewhere, and
    // what it wrote must not pass for damaged.
    match read_format(&mut Stream::new(Arc::clone(&handle))) {
        Err(Flaw::Format(found)) if found > FORMAT => return Err(Flaw::Format(found)),
        Err(Flaw::Io(error)) => return Err(Flaw::Io(error)),
        _ => {}
    }
    let content = length
        .checked_sub(TRAILER_BYTES as u64)
        .ok_or(Flaw::Damage("it is too short"))?;
    let hashing = Hashing {
        inner: Stream::new(handle).take(content),
        hasher: blake3::Hasher::new(),
    };
    let mut input = BufReader::with_capacity(BUFFER_BYTES, hashing);
    let read = read_all(&mut input);
    // A flipped bit may have led the reading anywhere: the checksum speaks first.
    io::copy(&mut input, &mut io::sink())?;
    let Hashing { inner, hasher } = input.into_inner();
    let mut trailer = [0; TRAILER_BYTES];
    inner.into_inner().read_exact(&mut trailer)?;
    if hasher.finalize() != trailer {
        return Err(Flaw::Damage("the checksum does not match"));
    }
    read
}

/// Reads everything before the trailer, and that nothing is left.
fn read_all(input: &mut impl Read) -> Result<peer::SnapshotHeader, Flaw> {
    let header = read_header(input)?;
    let mut pairs = 0_u64;
    let mut last: Option<Bytes> = None;
    while let Some((key, _)) = read_pair(input)? {
        if last.is_some_and(|last| last >= key) {
            return Err(Flaw::Damage("its keys do not ascend"));
        }
        last = Some(key);
        pairs += 1;
    }
    let mut count = [0; 8];
    input.read_exact(&mut count)?;
    if u64::from_le_bytes(count) != pairs {
        return Err(Flaw::Damage("it has another number of pairs"));
    }
    if input.read(&mut [0])? != 0 {
        return Err(Flaw::Damage("something follows its end"));
    }
    Ok(header)
}

fn read_header(input: &mut impl Read) -> Result<peer::SnapshotHeader, Flaw> {
    read_format(input)?;
    let length = read_u32(input)?;
    if length > HEADER_BYTES_MAX {
        return Err(Flaw::Damage("its header is too long"));
    }
    let header = read_bytes(input, length)?;
    peer::SnapshotHeader::decode(header).map_err(|_| Flaw::Damage("its header cannot be read"))
}

fn read_format(input: &mut impl Read) -> Result<(), Flaw> {
    let mut magic = [0; 8];
    input.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(Flaw::Damage("it is not a snapshot"));
    }
    let found = read_u32(input)?;
    if found != FORMAT {
        return Err(Flaw::Format(found));
    }
    Ok(())
}

fn read_pair(input: &mut impl Read) -> Result<Option<(Bytes, Bytes)>, Flaw> {
    let key = read_u32(input)?;
    if key == END {
        return Ok(None);
    }
    let value = read_u32(input)?;
    if key > KEY_BYTES_MAX || value > VALUE_BYTES_MAX {
        return Err(Flaw::Damage("a key or value is too long"));
    }
    let key = read_bytes(input, key)?;
    let value = read_bytes(input, value)?;
    Ok(Some((key, value)))
}

impl Pairs {
    /// `path` must have been verified; `content` is what it holds.
    pub(super) fn open(content: Stream, path: &Path) -> Result<Self, SnapshotError> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, content);
        read_header(&mut input).map_err(|flaw| flaw.of(path))?;
        Ok(Self {
            path: path.to_owned(),
            input,
            done: false,
        })
    }
}

impl Iterator for Pairs {
    type Item = Result<(Bytes, Bytes), SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let read = read_pair(&mut self.input);
        self.done = !matches!(read, Ok(Some(_)));
        read.map_err(|flaw| flaw.of(&self.path)).transpose()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}

fn read_u32(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Memory grows with what is there: the length may be wrong.
fn read_bytes(input: &mut impl Read, length: u32) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity((length as usize).min(READ_BYTES_FIRST));
    let read = input.take(u64::from(length)).read_to_end(&mut bytes)?;
    if read < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Bytes::from(bytes))
}
