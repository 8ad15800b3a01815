//! Promises of recordings: nothing lost, nothing misread, the disk never full, and a cut file read to its last whole chunk.

#![allow(clippy::unwrap_used)]

use egogrid_sim_bridge::codec::{Message, encode};
use egogrid_sim_bridge::message::{PolicyLook, RosString};
use egogrid_sim_bridge::recording::{
    Entry, Pause, Place, ReadError, ReadProblem, RecordedMessage, RecordingReader, RecordingRules, RecordingWriter,
    WriteError,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

const TOPIC: &str = "/egogrid/sim0/instruction";

/// Every message a chunk of its own, and nothing kept free.
fn rules() -> RecordingRules {
    RecordingRules {
        file_bytes_max: 1 << 30,
        disk_bytes_max: 2 << 30,
        free_bytes_min: 0,
        chunk_bytes: 1,
        chunk_age_max: Duration::from_secs(3600),
    }
}

fn create(place: Place, rules: RecordingRules) -> RecordingWriter {
    RecordingWriter::create(place, rules, BTreeMap::from([("robot".to_owned(), "sim0".to_owned())])).unwrap()
}

fn text(number: u64) -> Vec<u8> {
    encode(&RosString { data: format!("message {number}") }).unwrap()
}

fn add(writer: &mut RecordingWriter, number: u64, latched: bool) {
    let payload = text(number);
    let entry = Entry {
        topic: TOPIC,
        ros_type: RosString::ROS_TYPE,
        log_ns: 1000 + number,
        publish_ns: number,
        payload: &payload,
        latched,
    };
    writer.write(&entry).unwrap();
}

fn read(path: &Path) -> (Vec<RecordedMessage>, Option<ReadError>) {
    let (mut messages, mut error) = (Vec::new(), None);
    for message in RecordingReader::open(path).unwrap() {
        match message {
            Ok(message) => messages.push(message),
            Err(found) => error = Some(found),
        }
    }
    (messages, error)
}

fn sample(count: u64) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mcap");
    let mut writer = create(Place::File(path.clone()), rules());
    (0..count).for_each(|number| add(&mut writer, number, false));
    let (figures, pause) = writer.finish();
    assert_eq!((figures.written, figures.lost, pause), (count, 0, None));
    assert_eq!(figures.bytes, fs::metadata(&path).unwrap().len() - head(&path));
    fs::read(path).unwrap()
}

/// What a file begins with before its first message is not counted.
fn head(path: &Path) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join(path.file_name().unwrap());
    let writer = create(Place::File(empty.clone()), rules());
    let length = fs::metadata(&empty).unwrap().len();
    drop(writer);
    length
}

fn messages_of(bytes: &[u8]) -> (usize, Option<ReadProblem>) {
    let Ok(reader) = RecordingReader::of(bytes, Path::new("bytes")) else { return (0, Some(ReadProblem::NotMcap)) };
    let mut count = 0;
    for message in reader {
        match message {
            Ok(_) => count += 1,
            Err(error) => return (count, Some(error.problem)),
        }
    }
    (count, None)
}

#[test]
fn what_goes_in_comes_out_in_order_with_type_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mcap");
    let mut writer = create(Place::File(path.clone()), RecordingRules { chunk_bytes: 100, ..rules() });
    (0..50).for_each(|number| add(&mut writer, number, false));
    writer.finish();
    let (messages, error) = read(&path);
    assert!(error.is_none());
    assert_eq!(messages.len(), 50);
    for (number, message) in (0..).zip(&messages) {
        assert_eq!((message.topic.as_str(), message.ros_type.as_str()), (TOPIC, RosString::ROS_TYPE));
        assert_eq!((message.log_ns, message.publish_ns), (1000 + number, number));
        assert_eq!((message.payload.as_slice(), message.encoding.as_str()), (text(number).as_slice(), "cdr"));
    }
    let mut reader = RecordingReader::open(&path).unwrap();
    reader.next().unwrap().unwrap();
    assert_eq!(reader.about()["egogrid"]["robot"], "sim0");
}

/// What `kill -9` leaves: the file as it is while the writer lives, and that cut anywhere.
#[test]
fn a_file_cut_anywhere_is_read_to_its_last_whole_chunk_and_says_where_it_ends() {
    let whole = sample(12);
    let mut last = 0;
    for length in 8..whole.len() {
        let (count, problem) = messages_of(&whole[..length]);
        assert!(count >= last, "cut to {length}: {count} after {last}");
        last = count;
        // Behind the end of the data only the index is missing, which nobody needs from front to back.
        match problem {
            Some(ReadProblem::Cut { left }) => assert!((left as usize) < length, "{length}"),
            Some(other) => panic!("cut to {length}: {other}"),
            None => assert_eq!(count, 12, "cut to {length}"),
        }
    }
    assert_eq!(last, 12);
    for length in 0..8 {
        assert!(matches!(messages_of(&whole[..length]), (0, Some(ReadProblem::NotMcap))));
    }
}

#[test]
fn a_living_file_holds_every_message_that_was_put_down() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mcap");
    let mut writer = create(Place::File(path.clone()), rules());
    for number in 0..5 {
        add(&mut writer, number, false);
        let (messages, error) = read(&path);
        assert_eq!(messages.len() as u64, number + 1);
        assert!(matches!(error.unwrap().problem, ReadProblem::Cut { left: 0 }));
    }
}

#[test]
fn a_directory_stays_within_its_limit_and_every_file_begins_with_what_is_latched() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("notes.mcap");
    fs::write(&foreign, [0; 5000]).unwrap();
    let limits = RecordingRules { file_bytes_max: 4000, disk_bytes_max: 16_000, ..rules() };
    let mut writer = create(Place::Directory(dir.path().to_path_buf()), limits);
    add(&mut writer, 7, true);
    (100..400).for_each(|number| add(&mut writer, number, false));
    let (figures, _) = writer.finish();
    assert!(figures.files > 5 && figures.deleted > 0 && figures.lost == 0, "{figures:?}");
    let mut files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| *path != foreign);
    files.sort();
    let total: u64 = files.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(total <= 16_000 + 4000, "{total}");
    assert!(foreign.exists(), "files of others are not deleted");
    let mut next = None;
    for path in &files {
        let (messages, error) = read(path);
        assert!(error.is_none(), "{path:?}: {error:?}");
        assert_eq!(messages[0].payload, text(7), "{path:?}");
        for message in &messages[1..] {
            assert!(next.is_none_or(|next| message.publish_ns == next), "{} after {next:?}", message.publish_ns);
            next = Some(message.publish_ns + 1);
        }
    }
    assert_eq!(next, Some(400));
}

#[test]
fn a_single_file_ends_at_its_limit_and_counts_what_came_after() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mcap");
    let mut writer = create(Place::File(path.clone()), RecordingRules { file_bytes_max: 4000, ..rules() });
    (0..100).for_each(|number| add(&mut writer, number, false));
    let (figures, pause) = writer.finish();
    assert!(matches!(pause, Some(Pause::Over { .. })), "{pause:?}");
    assert_eq!(figures.written + figures.lost, 100);
    let (messages, error) = read(&path);
    assert!(error.is_none());
    assert_eq!(messages.len() as u64, figures.written);
}

/// A disk with less room than must stay free: the same as a full one, for whoever asks before he writes.
#[test]
fn a_disk_without_room_is_refused_politely_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mcap");
    let full = RecordingRules { free_bytes_min: u64::MAX, ..rules() };
    let mut writer = create(Place::File(path.clone()), full);
    (0..10).for_each(|number| add(&mut writer, number, false));
    assert!(matches!(writer.pause(), Some(Pause::DiskFull { .. })), "{:?}", writer.pause());
    let (figures, _) = writer.finish();
    assert_eq!((figures.written, figures.lost), (0, 10));
    assert!(!path.exists());
}

#[test]
fn a_place_that_cannot_be_used_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let about = BTreeMap::new;
    let nowhere = Place::File(dir.path().join("none/a.mcap"));
    assert!(matches!(RecordingWriter::create(nowhere, rules(), about()), Err(WriteError::Place { .. })));
    let taken = dir.path().join("a.mcap");
    fs::write(&taken, "mine").unwrap();
    let again = RecordingWriter::create(Place::File(taken.clone()), rules(), about());
    assert!(matches!(again, Err(WriteError::Exists { .. })));
    assert_eq!(fs::read(&taken).unwrap(), b"mine");
    let no_directory = Place::Directory(taken);
    assert!(matches!(RecordingWriter::create(no_directory, rules(), about()), Err(WriteError::Place { .. })));
}

#[test]
fn a_type_without_a_definition_is_refused_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mcap");
    let mut writer = create(Place::File(path.clone()), rules());
    let unknown =
        Entry { topic: "/a", ros_type: "a/msg/B", log_ns: 0, publish_ns: 0, payload: &[0, 1, 0, 0], latched: false };
    assert!(matches!(writer.write(&unknown), Err(WriteError::Type(_))));
    add(&mut writer, 1, false);
    assert_eq!(writer.finish().0.written, 1);
    assert!(egogrid_sim_bridge::recording::ros2msg(PolicyLook::ROS_TYPE).is_ok());
}

proptest! {
    /// Any damage is an error with a byte, or goes unseen where it does not matter; never a panic, never without end.
    #[test]
    fn damaged_files_are_read_or_refused(
        changes in prop::collection::vec((0_usize..10_000, any::<u8>()), 1..6),
        cut in 0_usize..10_000,
    ) {
        let mut bytes = SAMPLE.with(Clone::clone);
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut % 100);
        let (count, _) = messages_of(&bytes);
        prop_assert!(count <= 20);
    }

    #[test]
    fn bytes_that_nobody_wrote_are_refused(noise in prop::collection::vec(any::<u8>(), 0..2000)) {
        let bytes = [b"\x89MCAP0\r\n".as_slice(), &noise].concat();
        let (count, problem) = messages_of(&bytes);
        prop_assert!(count == 0 || problem.is_some());
    }
}

thread_local! {
    static SAMPLE: Vec<u8> = sample(10);
}
