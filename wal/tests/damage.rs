//! Torn, flipped, truncated, missing, swapped and foreign: never a silently different record.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{PARTITIONS, Wakes, append, open, read_all, segment_path, written};
use frontrow_wal::{DataDir, DirOptions, Finding, LogOptions, Tail, Verdict, WalError, verify};

/// Segments as small as can be: most tests rewrite one thousands of times.
fn options() -> LogOptions {
    LogOptions { segment_bytes: 16 << 10, max_payload_bytes: 1 << 10, ..LogOptions::small() }
}

/// Writes the same number of bytes in place: replacing a file thousands of times is slow on ext4.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, 0).unwrap();
}

/// A small step of splitmix64: the places to flip, the same in every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 1
}

#[test]
fn a_record_torn_at_any_byte_is_cut_and_the_rest_kept() {
    let folder = tempfile::tempdir().unwrap();
    let expected = written(folder.path(), &options(), 20, 1, 101);
    let path = segment_path(folder.path(), 1, 0);
    let whole = fs::read(&path).unwrap();
    let (start, end) = (4096 + expected[18].position as usize, 4096 + expected[19].position as usize);
    let dir = open(folder.path());
    for cut in start..=end {
        let mut torn = whole.clone();
        torn[cut..end].fill(0);
        overwrite(&path, &torn);
        let (records, tails) = read_all(&dir).unwrap();
        // The last bytes are padding, zero anyway: then nothing is missing.
        if torn == whole {
            assert_eq!((records, tails), (expected.clone(), vec![Tail::Clean]), "cut at {cut}");
        } else {
            assert_eq!(records, expected[..19], "cut at {cut}");
            // Zeros right before the cut belong to the record, but nobody can see they were written.
            let seen = torn[start..cut].iter().rposition(|&byte| byte != 0);
            let torn = |last| Tail::Torn { offset: start as u64, bytes: last as u64 + 1 };
            assert_eq!(tails, [seen.map_or(Tail::Clean, torn)], "cut at {cut}");
        }
    }
}

#[test]
fn a_truncated_file_is_refused_at_any_length() {
    let folder = tempfile::tempdir().unwrap();
    let expected = written(folder.path(), &options(), 20, 1, 101);
    let path = segment_path(folder.path(), 1, 0);
    let whole = fs::read(&path).unwrap();
    let dir = open(folder.path());
    let (start, end) = (4096 + expected[18].position as usize, 4096 + expected[19].position as usize);
    for len in [0, 1, 4095, 4096].into_iter().chain(start..=end) {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(matches!(read_all(&dir), Err(WalError::Corrupt { .. })), "length {len}");
    }
}

#[test]
fn a_flipped_bit_is_corrupt_or_only_cuts_the_last_record() {
    let folder = tempfile::tempdir().unwrap();
    let expected = written(folder.path(), &options(), 60, 1, 99);
    let path = segment_path(folder.path(), 1, 0);
    let whole = fs::read(&path).unwrap();
    let (last, end) = (4096 + expected[58].position as usize, 4096 + expected[59].position as usize);
    let dir = open(folder.path());
    let mut state = 7;
    let (mut corrupt, mut cut) = (0, 0);
    for at in 0..3000 {
        // All of the last record and the header's first fields, the rest at random.
        let bit = match at {
            0..600 => last * 8 + at * 2,
            600..1000 => at - 600,
            _ => random(&mut state) as usize % (end * 8),
        };
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        overwrite(&path, &flipped);
        match read_all(&dir) {
            Ok((records, tails)) if bit / 8 >= last => {
                let kept = if bit / 8 < end { 59 } else { 60 };
                assert_eq!(records, expected[..kept], "bit {bit}");
                assert!(matches!(tails[0], Tail::Torn { .. }), "bit {bit}");
                cut += 1;
            }
            Err(WalError::Corrupt { file, offset, .. }) if bit / 8 < last => {
                assert_eq!(file, path);
                assert!(offset as usize <= bit / 8, "bit {bit} blamed on {offset}");
                corrupt += 1;
            }
            other => panic!("bit {bit} of {}: {other:?}", last * 8),
        }
    }
    assert!(corrupt > 2000 && cut > 600, "{corrupt} {cut}");
}

/// The last batch of 20 records: its sectors may have reached the disk in any order.
#[test]
fn a_batch_that_lost_sectors_is_cut_but_a_changed_one_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let expected = written(folder.path(), &options(), 80, 20, 97);
    let path = segment_path(folder.path(), 1, 0);
    let whole = fs::read(&path).unwrap();
    let batch = 4096 + expected[59].position as usize;
    let end = 4096 + expected[79].position as usize;
    let dir = open(folder.path());
    for lost in (batch - batch % 512..end).step_by(512) {
        let mut torn = whole.clone();
        // What was there before this batch: the earlier batches' bytes, then zeros.
        torn[lost.max(batch)..(lost + 512).min(end)].fill(0);
        overwrite(&path, &torn);
        let (records, tails) = read_all(&dir).unwrap();
        let kept = expected.iter().filter(|r| 4096 + r.position as usize <= lost.max(batch)).count();
        assert_eq!(records, expected[..kept], "sector {lost}");
        assert!((60..80).contains(&kept) && matches!(tails[0], Tail::Torn { .. }));
    }
    // A lost sector of an earlier batch was durable once.
    let mut lost = whole.clone();
    lost[4608..5120].fill(0);
    overwrite(&path, &lost);
    assert!(matches!(read_all(&dir), Err(WalError::Corrupt { .. })));
    // A flipped bit in the last batch, all sectors there: not a tear.
    let mut flipped = whole.clone();
    flipped[batch + 50] ^= 4;
    overwrite(&path, &flipped);
    assert!(matches!(read_all(&dir), Err(WalError::Corrupt { .. })));
}

#[test]
fn a_record_copied_elsewhere_does_not_pass() {
    let folder = tempfile::tempdir().unwrap();
    let expected = written(folder.path(), &options(), 20, 1, 96);
    let path = segment_path(folder.path(), 1, 0);
    let mut bytes = fs::read(&path).unwrap();
    let len = (expected[1].position - expected[0].position) as usize;
    let (from, to) = (4096, 4096 + expected[19].position as usize);
    bytes.copy_within(from..from + len, to);
    fs::write(&path, &bytes).unwrap();
    let (records, tails) = read_all(&open(folder.path())).unwrap();
    assert_eq!(records, expected);
    assert!(matches!(tails[0], Tail::Torn { .. }), "{tails:?}");
}

#[test]
fn missing_and_swapped_segments_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &options(), 200, 10, 300);
    let dir = open(folder.path());
    let count = dir.segments().unwrap().len() as u32;
    assert!(count >= 5, "{count}");
    let aside = folder.path().join("aside");
    for number in 0..count {
        let path = segment_path(folder.path(), 1, number);
        fs::rename(&path, &aside).unwrap();
        match read_all(&dir) {
            Err(WalError::SegmentMissing { path: named }) => assert_eq!(named, path),
            other => panic!("segment {number}: {other:?}"),
        }
        fs::rename(&aside, &path).unwrap();
    }
    let (one, two) = (segment_path(folder.path(), 1, 1), segment_path(folder.path(), 1, 2));
    fs::rename(&one, &aside).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(&aside, &two).unwrap();
    assert!(matches!(read_all(&dir), Err(WalError::Misnamed { .. })));
}

/// A clean end removes what was prepared and not used, one by one, and may die in between.
#[test]
fn segments_prepared_and_never_used_may_be_missing_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let expected = written(folder.path(), &options(), 20, 1, 101);
    let dir = open(folder.path());
    assert_eq!(dir.segments().unwrap().len(), 1);
    let empty = |number: u32| {
        let mut page = fs::read(segment_path(folder.path(), 1, 0)).unwrap();
        page[4096..].fill(0);
        page[20..24].copy_from_slice(&number.to_le_bytes());
        page[40..48].copy_from_slice(&(u64::from(number) * (12 << 10)).to_le_bytes());
        let crc = crc32c::crc32c(&page[..4092]).to_le_bytes();
        page[4092..4096].copy_from_slice(&crc);
        fs::write(segment_path(folder.path(), 1, number), &page).unwrap();
        page
    };
    for left in [vec![1, 2], vec![1], vec![2], vec![3], vec![1, 3]] {
        for number in &left {
            empty(*number);
        }
        assert_eq!(read_all(&dir).unwrap().0, expected, "with {left:?}");
        for number in &left {
            fs::remove_file(segment_path(folder.path(), 1, *number)).unwrap();
        }
    }
    // Behind a gap and used: the one in between is lost.
    let mut used = empty(2);
    used[4096..4200].fill(7);
    fs::write(segment_path(folder.path(), 1, 2), used).unwrap();
    assert!(matches!(read_all(&dir), Err(WalError::SegmentMissing { .. })));
    // And the first segment is always there.
    empty(2);
    fs::remove_file(segment_path(folder.path(), 1, 0)).unwrap();
    assert!(matches!(read_all(&dir), Err(WalError::SegmentMissing { .. })));
}

/// A segment emptied after its successor was written is a loss, not an end.
#[test]
fn an_emptied_or_torn_segment_with_a_written_successor_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &options(), 100, 10, 300);
    let path = segment_path(folder.path(), 1, 0);
    let whole = fs::read(&path).unwrap();
    let dir = open(folder.path());
    for from in [4096, whole.len() / 2, whole.len() - 600] {
        let mut emptied = whole.clone();
        emptied[from..].fill(0);
        overwrite(&path, &emptied);
        assert!(matches!(read_all(&dir), Err(WalError::Corrupt { .. })), "from {from}");
    }
}

#[test]
fn segments_of_another_cluster_version_or_name_are_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    written(ours.path(), &options(), 5, 1, 50);
    written(theirs.path(), &options(), 5, 1, 50);
    let dir = open(ours.path());
    let path = segment_path(ours.path(), 1, 0);
    let whole = fs::read(&path).unwrap();

    fs::copy(segment_path(theirs.path(), 1, 0), &path).unwrap();
    assert!(matches!(read_all(&dir), Err(WalError::ForeignCluster { .. })));

    let mut other = whole.clone();
    other[8] = 9;
    let crc = crc32c::crc32c(&other[..4092]).to_le_bytes();
    other[4092..4096].copy_from_slice(&crc);
    fs::write(&path, &other).unwrap();
    assert!(matches!(read_all(&dir), Err(WalError::SegmentVersion { found: 9, .. })));

    fs::write(&path, &whole).unwrap();
    let stray = ours.path().join("log/s0000-e00000001-00000000.seg.bak");
    fs::write(&stray, b"x").unwrap();
    assert!(matches!(read_all(&dir), Err(WalError::ForeignFile { .. })));
    fs::remove_file(&stray).unwrap();

    fs::rename(&path, segment_path(ours.path(), 1, 1)).unwrap();
    assert!(matches!(read_all(&dir), Err(WalError::Misnamed { .. })));
}

#[test]
fn a_log_ahead_of_its_manifest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("MANIFEST");
    drop(open(folder.path()));
    let old = fs::read(&manifest).unwrap();
    for _ in 0..2 {
        let (dir, wakes) = (open(folder.path()), Wakes::default());
        let mut log = dir.open_stream(0, &options(), wakes.callback()).unwrap();
        append(&mut log, &wakes, 1, 10);
        log.flush().unwrap();
    }
    fs::write(&manifest, &old).unwrap();
    let opened = DataDir::open(folder.path(), DirOptions::new(PARTITIONS));
    assert!(matches!(opened, Err(WalError::EpochAhead { found: 2, manifest: 1, .. })));
    assert_eq!(fs::read(&manifest).unwrap(), old, "the next start must find the same");
}

/// Whoever lost it may have been a standby: two nodes would sell, and open the same epoch.
#[test]
fn a_log_without_its_history_is_not_served_from() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &options(), 30, 3, 60);
    let (name, dir) = (folder.path().join("HISTORY"), open(folder.path()));
    let whose = dir.begin_history(false).unwrap().node;
    fs::remove_file(&name).unwrap();
    for promoted in [false, true] {
        let begun = dir.begin_history(promoted);
        let told = begun.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(
            matches!(begun, Err(WalError::HistoryMissing { .. })) && told.contains("accept-loss"),
            "{told}"
        );
    }
    let bad = verify(dir.view());
    let missing = |found: &Finding| found.path == name && found.verdict == Verdict::Bad;
    assert!(bad.findings.iter().any(missing), "{bad:?}");
    drop(dir);

    let options = DirOptions { create: false, ..DirOptions::new(PARTITIONS) };
    let dir = DataDir::attend(folder.path(), options, 0).unwrap();
    assert_eq!(dir.accept_loss().unwrap(), None, "nothing was noted of another node");
    drop(dir);
    let anew = open(folder.path()).begin_history(false).unwrap();
    assert!(anew.node != whose && anew.entry(1).is_some_and(|first| first.ends[&0] > 0), "{anew:?}");

    let empty = tempfile::tempdir().unwrap();
    drop(open(empty.path()));
    open(empty.path()).begin_history(false).expect("a first start that ended before there was anything");
}

/// The exact bytes do not matter here, only that nothing panics and nothing foreign is believed.
#[test]
fn arbitrary_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), &options(), 30, 3, 60);
    let whole = fs::read(segment_path(folder.path(), 1, 0)).unwrap();
    let mut state = 3;
    for len in [0, 1, 7, 39, 40, 41, 4095, 4096, 4097, 4136, 9000] {
        frontrow_wal::fuzz_decode(&whole[..len]);
        let noise: Vec<u8> = (0..len).map(|_| random(&mut state) as u8).collect();
        frontrow_wal::fuzz_decode(&noise);
        frontrow_wal::fuzz_decode(&vec![0; len]);
    }
    for _ in 0..200 {
        let from = random(&mut state) as usize % 6000;
        frontrow_wal::fuzz_decode(&whole[from..from + 700]);
    }
    frontrow_wal::fuzz_decode(&whole);
}

#[test]
fn a_leftover_of_an_interrupted_preparation_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let expected = written(folder.path(), &options(), 5, 1, 50);
    let leftover = folder.path().join("log/s0000-e00000001-00000001.seg.tmp");
    fs::write(&leftover, b"half").unwrap();
    let dir = DataDir::open(folder.path(), DirOptions::new(PARTITIONS)).unwrap();
    assert!(!Path::new(&leftover).exists());
    assert_eq!(read_all(&dir).unwrap().0, expected);
}
