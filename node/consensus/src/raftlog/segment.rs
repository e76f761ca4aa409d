//! Segment files: their names, their header, and what a scan finds in them.
//!
//! A segment is written front to back and never changed. Only the last one may
//! end in a torn batch; anything unreadable elsewhere is damage and is
//! reported, never cut away.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::LogError;
use super::record::{self, Change, EntryId, Record, RecordError};
use crate::files::{self, Files, Handle, Mode};

/// Bytes before the first record: magic, format version, number, checksum.
pub(super) const HEADER_BYTES: u32 = 24;

const MAGIC: &[u8; 8] = b"ENTREPOT";
const FORMAT: u32 = 1;
const EXTENSION: &str = "log";

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) segment: u64,
    pub(super) offset: u32,
    pub(super) size: u32,
}

impl Location {
    pub(super) fn end(&self) -> (u64, u32) {
        (self.segment, self.offset + self.size)
    }
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// With its last record.
    Clean,
    /// In the middle of a batch that was never acknowledged: cut it off here.
    Torn(u32),
}

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.{EXTENSION}"))
}

/// The numbers of the segments in `dir`, in order, without a gap.
pub(super) fn list(files: &dyn Files, dir: &Path) -> Result<Vec<u64>, LogError> {
    let paths = files.list(dir);
    let mut numbers = Vec::new();
    for path in paths.map_err(|source| LogError::io(dir, source))? {
        if path.extension().is_some_and(|found| found == EXTENSION) {
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            numbers.push(number.ok_or_else(|| LogError::damaged(&path, 0, "unknown file name"))?);
        }
    }
    numbers.sort_unstable();
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        let missing = path(dir, pair[0] + 1);
        return Err(LogError::damaged(&missing, 0, "the segment is missing"));
    }
    Ok(numbers)
}

/// Creates a segment; it is durable, and empty, when this returns.
pub(super) fn create(files: &dyn Files, dir: &Path, number: u64) -> io::Result<Arc<dyn Handle>> {
    let file = files.open(&path(dir, number), Mode::Create)?;
    files::write_all_at(&*file, &header(number), 0)?;
    file.sync()?;
    files.sync_dir(dir)?;
    Ok(file)
}

/// Reads one entry back and checks that it is the one that was asked for.
pub(super) fn read_entry(
    file: &dyn Handle,
    path: &Path,
    at: Location,
    id: EntryId,
) -> Result<Bytes, LogError> {
    let mut bytes = vec![0; at.size as usize];
    files::read_exact_at(file, &mut bytes, u64::from(at.offset))
        .map_err(|source| LogError::io(path, source))?;
    let record = record::decode(&bytes)
        .map_err(|error| LogError::damaged(path, at.offset, &error.to_string()))?;
    match record.change {
        Change::Entry(found, payload) | Change::Copy(found, payload) if found == id => {
            Ok(Bytes::copy_from_slice(payload))
        }
        _ => Err(LogError::damaged(path, at.offset, "another record is here")),
    }
}

/// Whether the file is one that a crash left before its header was durable.
pub(super) fn is_stillborn(content: &[u8]) -> bool {
    content.len() < HEADER_BYTES as usize || content.iter().all(|byte| *byte == 0)
}

/// Reads every record of a segment in order; `last` says whether it is the
/// newest one, which alone may be torn.
pub(super) fn scan(
    path: &Path,
    number: u64,
    content: &[u8],
    last: bool,
    mut visit: impl FnMut(&Record<'_>, Location) -> Result<(), LogError>,
) -> Result<Tail, LogError> {
    check_header(path, number, content)?;
    let mut offset = HEADER_BYTES;
    while (offset as usize) < content.len() {
        let record = match record::decode(&content[offset as usize..]) {
            Ok(record) => record,
            Err(error) => return torn(path, content, offset, last, error),
        };
        let location = Location {
            segment: number,
            offset,
            size: record.size,
        };
        visit(&record, location)?;
        offset += record.size;
    }
    Ok(Tail::Clean)
}

/// Decides whether what cannot be read at `offset` is a torn batch or damage.
fn torn(
    path: &Path,
    content: &[u8],
    offset: u32,
    last: bool,
    error: RecordError,
) -> Result<Tail, LogError> {
    if !last {
        return Err(LogError::damaged(path, offset, &error.to_string()));
    }
    // Every place is tried: after damage the lengths lead nowhere.
    for at in offset as usize + 1..content.len() {
        if record::decode(&content[at..]).is_ok_and(|record| record.synced > offset) {
            let reason = format!("{error}, and what was written after it was synced is at {at}");
            return Err(LogError::damaged(path, offset, &reason));
        }
    }
    Ok(Tail::Torn(offset))
}

pub(super) fn header(number: u64) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..20].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn check_header(path: &Path, number: u64, content: &[u8]) -> Result<(), LogError> {
    let Some(found) = content.get(..HEADER_BYTES as usize) else {
        return Err(LogError::damaged(path, 0, "the header is cut short"));
    };
    if found == header(number) {
        return Ok(());
    }
    let intact = found[20..] == crc32fast::hash(&found[..20]).to_le_bytes();
    let format = [found[8], found[9], found[10], found[11]];
    if intact && &found[..8] == MAGIC && u32::from_le_bytes(format) != FORMAT {
        return Err(LogError::Format {
            path: path.to_owned(),
            found: u32::from_le_bytes(format),
            known: FORMAT,
        });
    }
    Err(LogError::damaged(
        path,
        0,
        "the header is not this segment's",
    ))
}
