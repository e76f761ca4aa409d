//! From files to index: what a start finds.
//!
//! Segments are read in order and every record is applied as if it had just
//! been written. The newest segment may end in a torn batch, which was never
//! acknowledged and is cut off; a newest segment without a header was never
//! used and is removed. Everything else that cannot be read stops the start.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::LogError;
use super::index::Index;
use super::segment::{self, HEADER_BYTES, Tail};
use crate::files::{self, Files, Handle, Mode};

/// What a start found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) files: BTreeMap<u64, Arc<dyn Handle>>,
    /// The newest segment, for the writer.
    pub(super) tail_file: Option<Arc<dyn Handle>>,
    /// Where the next record goes; segment 0 when there is none.
    pub(super) tail: (u64, u32),
}

pub(super) fn recover(files: &dyn Files, dir: &Path) -> Result<Recovered, LogError> {
    let mut numbers = segment::list(files, dir)?;
    // A process that was killed may have left names that are not durable yet.
    files
        .sync_dir(dir)
        .map_err(|source| LogError::io(dir, source))?;
    remove_stillborn(files, dir, &mut numbers)?;
    let mut recovered = Recovered {
        index: Index::default(),
        files: BTreeMap::new(),
        tail_file: None,
        tail: (0, HEADER_BYTES),
    };
    for number in &numbers {
        let last = numbers.last() == Some(number);
        recovered.read(files, dir, *number, last)?;
    }
    for (name, group) in &recovered.index.groups {
        if let Some(reason) = group.fault() {
            return Err(LogError::Incomplete {
                group: name.to_string(),
                reason,
            });
        }
    }
    Ok(recovered)
}

impl Recovered {
    fn read(
        &mut self,
        files: &dyn Files,
        dir: &Path,
        number: u64,
        last: bool,
    ) -> Result<(), LogError> {
        let path = segment::path(dir, number);
        let io = |source| LogError::io(&path, source);
        let file = files.open(&path, Mode::Write).map_err(io)?;
        let content = files::read_all(&file).map_err(io)?;
        let index = &mut self.index;
        let mut synced = HEADER_BYTES;
        let tail = segment::scan(&path, number, &content, last, |record, at| {
            index.apply(record.group, &record.change, at);
            synced = synced.max(record.synced);
            Ok(())
        })?;
        let mut end = u32::try_from(content.len())
            .map_err(|_| LogError::damaged(&path, 0, "the file is too long"))?;
        if let Tail::Torn(offset) = tail {
            let cut_bytes = end - offset;
            tracing::warn!(
                segment = number,
                offset,
                cut_bytes,
                "cut a torn batch off the log"
            );
            file.set_length(u64::from(offset)).map_err(io)?;
            end = offset;
        }
        if last {
            // What was read may be in the page cache only, and is acted on from
            // now on. It is written again as well: after a sync that failed, the
            // kernel takes it for written already.
            for doubtful in [0..HEADER_BYTES, synced..end] {
                let range = doubtful.start as usize..doubtful.end as usize;
                let bytes = content.get(range).unwrap_or_default();
                files::write_all_at(&*file, bytes, u64::from(doubtful.start)).map_err(io)?;
            }
            file.sync().map_err(io)?;
        }
        self.files.insert(number, Arc::clone(&file));
        self.tail_file = Some(file);
        self.tail = (number, end);
        Ok(())
    }
}

/// Removes a newest segment that a crash left before its header was durable.
/// Nothing was written to it, and its predecessor was complete.
fn remove_stillborn(files: &dyn Files, dir: &Path, numbers: &mut Vec<u64>) -> Result<(), LogError> {
    let Some(number) = numbers.last().copied() else {
        return Ok(());
    };
    let path = segment::path(dir, number);
    let io = |source| LogError::io(&path, source);
    let file = files.open(&path, Mode::Read).map_err(io)?;
    let begun = file.length().map_err(io)? > u64::from(HEADER_BYTES);
    if begun || !segment::is_stillborn(&files::read_all(&file).map_err(io)?) {
        return Ok(());
    }
    tracing::warn!(
        segment = number,
        "removed a log segment that was never begun"
    );
    files.remove(&path).map_err(io)?;
    files.sync_dir(dir).map_err(io)?;
    numbers.pop();
    Ok(())
}
