//! The same small histories on a disk and in memory; crashes; faults.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, Fault, Faults, FaultyFiles, Files, MemoryFiles, Mode, Operation};
use super::{create_dir, read_all, rename, write_all_at};

fn put(files: &dyn Files, path: &Path, content: &[u8], synced: bool) {
    let file = files.open(path, Mode::Create).unwrap();
    write_all_at(&*file, content, 0).unwrap();
    if synced {
        file.sync().unwrap();
    }
}

fn get(files: &dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    read_all(&files.open(path, Mode::Read)?)
}

/// One body for every implementation.
fn behaves_like_files(files: &dyn Files, root: &Path) {
    let dir = root.join("a/b");
    create_dir(files, &dir).unwrap();
    create_dir(files, &dir).unwrap();
    let again = files.make_dir(&dir).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    assert!(files.is_dir(&dir) && !files.is_dir(&root.join("a/c")));

    let (one, two) = (dir.join("one"), dir.join("two"));
    put(files, &one, b"content", true);
    let taken = files.open(&one, Mode::Create).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    let nowhere = files.open(&root.join("x/y"), Mode::Create).unwrap_err();
    assert_eq!(nowhere.kind(), io::ErrorKind::NotFound);

    let file = files.open(&one, Mode::Write).unwrap();
    write_all_at(&*file, b"rest", 10).unwrap();
    assert_eq!(get(files, &one).unwrap(), b"content\0\0\0rest");
    file.set_length(3).unwrap();
    assert_eq!(
        (file.length().unwrap(), get(files, &one).unwrap()),
        (3, b"con".to_vec())
    );
    let read_only = files.open(&one, Mode::Read).unwrap();
    assert!(read_only.write_at(b"x", 0).is_err());

    put(files, &two, b"old", true);
    rename(files, &one, &two).unwrap();
    assert_eq!(get(files, &two).unwrap(), b"con");
    assert_eq!(files.list(&dir).unwrap(), std::slice::from_ref(&two));
    assert_eq!(
        get(files, &one).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    files.remove(&two).unwrap();
    // Who has it open still reads it.
    assert_eq!(read_all(&file).unwrap(), b"con");
    assert!(files.list(&dir).unwrap().is_empty());
    assert_eq!(
        files.remove(&two).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );

    let lock = dir.join("lock");
    let held = files.lock(&lock).unwrap();
    let busy = files.lock(&lock).unwrap_err();
    assert_eq!(busy.kind(), io::ErrorKind::WouldBlock);
    drop(held);
    files.lock(&lock).unwrap();
}

#[test]
fn a_disk_behaves_like_files() {
    let dir = tempfile::tempdir().unwrap();
    behaves_like_files(&Disk, dir.path());
}

#[test]
fn memory_behaves_like_files() {
    behaves_like_files(&MemoryFiles::new(), Path::new("/data"));
}

#[test]
fn without_a_plan_nothing_fails() {
    let files = FaultyFiles::new(Arc::new(MemoryFiles::new()), Faults::default());
    behaves_like_files(&files, Path::new("/data"));
}

fn memory() -> (MemoryFiles, PathBuf) {
    let (files, dir) = (MemoryFiles::new(), PathBuf::from("/data"));
    create_dir(&files, &dir).unwrap();
    (files, dir)
}

#[test]
fn a_crash_takes_what_was_not_synced() {
    let (files, dir) = memory();
    let file = |name: &str| dir.join(name);
    put(&files, &file("both"), b"synced", true);
    put(&files, &file("name only"), b"content", false);
    files.sync_dir(&dir).unwrap();
    put(&files, &file("content only"), b"content", true);
    let both = files.open(&file("both"), Mode::Write).unwrap();
    write_all_at(&*both, b"more", 6).unwrap();
    assert_eq!(files.unsynced_bytes(), "content".len() + "more".len());
    files.crash();

    assert_eq!(get(&files, &file("both")).unwrap(), b"synced");
    assert_eq!(get(&files, &file("name only")).unwrap(), b"");
    assert!(get(&files, &file("content only")).is_err());
    // Whoever is left of the life before has no part in this one.
    assert!(both.sync().is_err() && both.write_at(b"x", 0).is_err());
}

#[test]
fn a_crash_takes_back_names_that_were_not_synced() {
    let (files, dir) = memory();
    let (old, new, gone) = (dir.join("old"), dir.join("new"), dir.join("gone"));
    put(&files, &old, b"old", true);
    put(&files, &gone, b"gone", true);
    files.sync_dir(&dir).unwrap();
    files.rename(&old, &new).unwrap();
    files.remove(&gone).unwrap();
    create_dir(&files, &dir.join("durable")).unwrap();
    files.rename(&new, &old).unwrap();
    files.make_dir(&dir.join("lost")).unwrap();
    let held = files.lock(&dir.join("lock")).unwrap();
    files.crash();

    // The directory that was made durable took the names before it along.
    assert_eq!(
        get(&files, &old).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(get(&files, &new).unwrap(), b"old");
    assert!(get(&files, &gone).is_err());
    assert!(files.is_dir(&dir.join("durable")) && !files.is_dir(&dir.join("lost")));
    // A lock dies with its holder, and its holder's end does not free another's.
    let next = files.lock(&dir.join("lock")).unwrap();
    drop(held);
    assert!(files.lock(&dir.join("lock")).is_err());
    drop(next);
}

#[test]
fn what_survives_a_crash_depends_on_the_seed_alone() {
    let after = |seed: u64| {
        let (files, dir) = memory();
        for number in 0..20_u8 {
            put(
                &files,
                &dir.join(number.to_string()),
                &[number + 1; 2000],
                false,
            );
            if number == 9 {
                files.sync_dir(&dir).unwrap();
            }
        }
        files.crash_keeping_some(seed);
        let mut found = files.list(&dir).unwrap();
        found.sort();
        let contents = found.into_iter().map(|path| {
            let content = get(&files, &path).unwrap();
            (path, content)
        });
        contents.collect::<Vec<_>>()
    };
    assert_eq!(after(7), after(7));
    assert_ne!(after(7), after(8));
    let found = after(7);
    assert!(found.len() >= 10, "names that were synced");
    assert!(found.iter().any(|(_, content)| content.contains(&0)));
}

#[test]
fn faults_hit_what_was_planned_once() {
    let faults = Faults::default();
    let (memory, dir) = memory();
    let files = FaultyFiles::new(Arc::new(memory), faults.clone());
    let file = files.open(&dir.join("file"), Mode::Create).unwrap();

    faults.fail_after(Operation::Write, 1, Fault::Short);
    faults.fail(Operation::Sync, Fault::Broken);
    assert_eq!(file.write_at(b"abcd", 0).unwrap(), 4);
    assert_eq!((faults.hits(), faults.changes_after_failure()), (0, 0));
    assert_eq!(file.write_at(b"abcd", 4).unwrap(), 2);
    assert!(file.sync().is_err());
    assert!(file.sync().is_ok());
    assert_eq!((faults.hits(), faults.changes_after_failure()), (2, 1));

    faults.clear();
    faults.fail(Operation::Write, Fault::TornFull);
    let torn = file.write_at(b"1234", 6).unwrap_err();
    assert_eq!(torn.kind(), io::ErrorKind::StorageFull);
    assert_eq!(read_all(&file).unwrap(), b"abcdab12");
    faults.fail(Operation::Read, Fault::Short);
    assert_eq!(file.read_at(&mut [0; 5], 0).unwrap(), 3);
    faults.fail(Operation::Rename, Fault::Broken);
    assert!(files.rename(&dir.join("file"), &dir.join("other")).is_err());
    assert!(files.open(&dir.join("file"), Mode::Read).is_ok());
}

#[test]
fn drawn_faults_come_again_with_their_seed() {
    let hits = |seed: u64| {
        let faults = Faults::default();
        let (memory, dir) = memory();
        let files = FaultyFiles::new(Arc::new(memory), faults.clone());
        let file = files.open(&dir.join("file"), Mode::Create).unwrap();
        faults.draw(
            seed,
            4,
            &[
                (Operation::Write, Fault::Broken),
                (Operation::Write, Fault::Short),
            ],
        );
        let wrote = (0..100).map(|at| file.write_at(b"ab", at).ok());
        wrote.collect::<Vec<_>>()
    };
    assert_eq!(hits(3), hits(3));
    assert_ne!(hits(3), hits(4));
    let failed = hits(3).iter().filter(|wrote| **wrote != Some(2)).count();
    assert!((10..50).contains(&failed), "{failed} of 100");
}

#[test]
fn what_a_failed_sync_lost_is_read_until_the_power_is_cut() {
    let faults = Faults::default();
    let (memory, dir) = memory();
    let files = FaultyFiles::new(Arc::new(memory.clone()), faults.clone());
    let path = dir.join("file");
    let file = files.open(&path, Mode::Create).unwrap();
    files.sync_dir(&dir).unwrap();
    write_all_at(&*file, b"lost", 0).unwrap();
    faults.fail(Operation::Sync, Fault::Broken);
    assert!(file.sync().is_err());
    write_all_at(&*file, b"kept", 4).unwrap();
    file.sync().unwrap();
    assert_eq!(get(&files, &path).unwrap(), b"lostkept");
    memory.crash();
    assert_eq!(get(&files, &path).unwrap(), b"\0\0\0\0kept");
}
