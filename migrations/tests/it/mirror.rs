//! The mirror on real folders, with a table as the store.

use mars_lamport::Timestamp;
use mars_meta_model::testing::entry;
use mars_meta_model::{Cell, Key, NodeId, Table, View as _};
use mars_migrations::mirror::{
    Answer, Compared, MirrorError, MirrorTree, PutOutcome, Related, Scope, Step, compare,
};
use mars_migrations::testing::set_mtime;
use mars_migrations::{ImportOptions, Scan};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

const NOW: u64 = 2_000_000_000_000_000_000;
const BASE: u64 = 1_700_000_000_000_000_000;

struct World {
    _tmp: tempfile::TempDir,
    dir: PathBuf,
    tree: MirrorTree,
    store: Table,
    imports: usize,
    writes: usize,
}

impl World {
    fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("mars");
        fs::create_dir(&dir).unwrap();
        put(&dir, "uuid", "hosta_1742540000.1", BASE);
        let tree = MirrorTree::open(&dir).unwrap();
        let mut world = Self {
            _tmp: tmp,
            dir,
            tree,
            store: Table::new(),
            imports: 0,
            writes: 0,
        };
        world.full();
        world
    }

    fn carry_out(&mut self, out: Compared) -> usize {
        let mut done = 0;
        for step in out.steps {
            match &step {
                Step::Import(entry) => {
                    self.store.merge(entry.clone());
                    self.imports += 1;
                    done += 1;
                }
                Step::Link { .. } => {
                    if self.tree.put(&step).unwrap() == PutOutcome::Written {
                        self.writes += 1;
                        done += 1;
                    }
                }
            }
        }
        done
    }

    fn full(&mut self) -> usize {
        let scan = self.tree.scan().unwrap();
        let out = compare(&scan, &self.store, &Scope::All, &ImportOptions::at(NOW));
        self.carry_out(out)
    }

    /// What the events of the tree and these keys of the store call for.
    fn incremental(&mut self, keys: &[Key]) -> usize {
        let changes = self.tree.changes().unwrap();
        if changes.all {
            return self.full();
        }
        let mut related = Related::default();
        let paths = keys.iter().map(|key| key.as_str().as_bytes().to_vec());
        for path in changes.paths.into_iter().chain(paths) {
            related.add(&self.tree, &path);
        }
        let scan: Scan = self.tree.look_at(&related.paths);
        let scope = Scope::Keys(&related.keys);
        let out = compare(&scan, &self.store, &scope, &ImportOptions::at(NOW));
        self.carry_out(out)
    }

    /// Value (`None`: deleted or not there) and stamp of a key in the tree.
    fn link(&self, key: &str) -> Option<(String, i128)> {
        let object = self.tree.look(key.as_bytes())?;
        match object.kind {
            mars_migrations::ObjectKind::Link { value } if *value != *b".deleted" => {
                Some((String::from_utf8(value.to_vec()).unwrap(), object.mtime_ns))
            }
            _ => None,
        }
    }
}

fn put(dir: &Path, path: &str, value: &str, stamp: u64) {
    let target = dir.join(path);
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    let draft = target.with_file_name(".tmp.test");
    symlink(value, &draft).unwrap();
    set_mtime(&draft, i128::from(stamp)).unwrap();
    fs::rename(&draft, &target).unwrap();
}

const KEYS: [&str; 9] = [
    "userspace/a",
    "userspace/b",
    "defaults/c",
    "resource-r/size",
    "resource-r/data-h",
    "resource-r/device-h",
    "resource-r/todo-h/attach",
    "actual-h/time",
    "resource-r/userspace/d",
];

#[test]
fn both_sides_converge_and_nothing_is_written_twice() {
    for seed in 0..60 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut world = World::new();
        let (mut first_imports, mut first_writes) = (world.imports, world.writes);
        let mut last: BTreeMap<&str, (Option<String>, u64)> = BTreeMap::new();
        let mut touched = Vec::new();
        let (mut tree_ops, mut store_ops) = (0, 0);
        for step in 0..40_u64 {
            let key = KEYS[random.below(KEYS.len())];
            let stamp = BASE + 1000 * (step + 1) + random.below(900) as u64;
            let text = format!("v{step}");
            match random.below(8) {
                0..=2 => {
                    put(&world.dir, key, &text, stamp);
                    last.insert(key, (Some(text), stamp));
                    tree_ops += 1;
                }
                3 => {
                    put(&world.dir, key, ".deleted", stamp);
                    last.insert(key, (None, stamp));
                    tree_ops += 1;
                }
                4 => {
                    // The old method: a marker in the place of the link.
                    let path = world.dir.join(key);
                    let name = path.file_name().unwrap().to_str().unwrap();
                    let _ = fs::remove_file(&path);
                    let marker = Path::new(key).with_file_name(format!(".deleted-{name}"));
                    put(&world.dir, marker.to_str().unwrap(), "17,0", stamp);
                    last.insert(key, (None, stamp));
                    tree_ops += 1;
                }
                5 | 6 => {
                    world.store.merge(entry(key, Some(&text), stamp, 7));
                    touched.push(Key::parse(key).unwrap());
                    last.insert(key, (Some(text), stamp));
                    store_ops += 1;
                }
                _ => {
                    world.store.merge(entry(key, None, stamp, 7));
                    touched.push(Key::parse(key).unwrap());
                    last.insert(key, (None, stamp));
                    store_ops += 1;
                }
            }
            match random.below(6) {
                0 => {
                    world.incremental(&touched);
                    touched.clear();
                }
                1 => {
                    world.full();
                    touched.clear();
                }
                // The mirror is killed and started again.
                2 if random.below(4) == 0 => {
                    world.tree = MirrorTree::open(&world.dir).unwrap();
                    world.full();
                    touched.clear();
                }
                _ => {}
            }
        }
        world.incremental(&touched);
        for pass in 0.. {
            if world.incremental(&[]) + world.full() == 0 {
                break;
            }
            assert!(pass < 3, "seed {seed}: it does not come to rest");
        }
        for (key, (value, stamp)) in &last {
            let held = world.store.entry(&Key::parse(key).unwrap()).unwrap();
            assert_eq!(held.stamp.as_nanos(), *stamp, "seed {seed}: {key}");
            assert_eq!(held.text(), value.as_deref(), "seed {seed}: {key}");
            let link = value.clone().map(|v| (v, i128::from(*stamp)));
            assert_eq!(world.link(key), link, "seed {seed}: {key}");
        }
        // Each write travels once; a marker makes the other side of the mirror write once more. Members are derived.
        let derived = 2 * tree_ops + store_ops;
        first_imports = world.imports - first_imports;
        first_writes = world.writes - first_writes;
        assert!(
            first_imports <= tree_ops + derived,
            "seed {seed}: {first_imports} imports"
        );
        assert!(
            first_writes <= store_ops + tree_ops,
            "seed {seed}: {first_writes} writes"
        );
    }
}

#[test]
fn own_writes_come_back_as_events_and_change_nothing() {
    let mut world = World::new();
    world.incremental(&[]);
    let key = Key::parse("resource-r/primary").unwrap();
    world
        .store
        .merge(entry(key.as_str(), Some("hosta"), BASE + 5, 3));
    assert_eq!(world.incremental(std::slice::from_ref(&key)), 1);
    for _ in 0..3 {
        world.incremental(&[]);
    }
    assert_eq!((world.writes, world.full()), (1, 0));
    assert_eq!(
        world.link("resource-r/primary"),
        Some(("hosta".to_owned(), i128::from(BASE + 5)))
    );
}

#[test]
fn somebody_who_writes_at_the_same_moment_loses_nothing() {
    let mut world = World::new();
    put(&world.dir, "userspace/x", "old", BASE + 1);
    world.full();
    world
        .store
        .merge(entry("userspace/x", Some("mine"), BASE + 10, 3));
    let scan = world.tree.scan().unwrap();
    let out = compare(&scan, &world.store, &Scope::All, &ImportOptions::at(NOW));
    // Between comparison and write, something newer appears.
    put(&world.dir, "userspace/x", "theirs", BASE + 20);
    let put_outcome = world.tree.put(&out.steps[0]).unwrap();
    assert_eq!(put_outcome, PutOutcome::Raced);
    assert_eq!(world.link("userspace/x").unwrap().0, "theirs");
    world.full();
    assert_eq!(world.store.text("userspace/x"), Some("theirs"));
    assert_eq!(world.full(), 0);
    // The same with a link that was not there before, and with a file.
    world
        .store
        .merge(entry("userspace/y", Some("mine"), BASE + 10, 3));
    world
        .store
        .merge(entry("userspace/z", Some("mine"), BASE + 10, 3));
    let scan = world.tree.scan().unwrap();
    let out = compare(&scan, &world.store, &Scope::All, &ImportOptions::at(NOW));
    put(&world.dir, "userspace/y", "theirs", BASE + 20);
    fs::write(world.dir.join("userspace/z"), "a file").unwrap();
    for step in &out.steps {
        assert_eq!(world.tree.put(step).unwrap(), PutOutcome::Raced);
    }
    world.full();
    assert_eq!(world.store.text("userspace/y"), Some("theirs"));
    assert_eq!(fs::read(world.dir.join("userspace/z")).unwrap(), b"a file");
}

#[test]
fn a_writer_in_full_swing_converges_once_it_rests() {
    let mut world = World::new();
    let dir = world.dir.clone();
    let writer = std::thread::spawn(move || {
        for i in 0..400_u64 {
            let key = KEYS[usize::try_from(i).unwrap() % 3];
            put(&dir, key, &format!("t{i}"), BASE + 10 * (i + 1));
        }
    });
    for i in 0..200_u64 {
        let key = KEYS[usize::try_from(i).unwrap() % 3];
        let stamp = BASE + 20 * (i + 1) + 5;
        // As the store does: what is older than what it holds is not taken.
        world
            .store
            .merge(entry(key, Some(&format!("s{i}")), stamp, 7));
        world.incremental(&[Key::parse(key).unwrap()]);
    }
    writer.join().unwrap();
    while world.incremental(&[]) + world.full() > 0 {}
    for key in &KEYS[..3] {
        let held = world.store.entry(&Key::parse(key).unwrap()).unwrap();
        let link = world.link(key).unwrap();
        assert_eq!(Some(link.0.as_str()), held.text());
        assert_eq!(link.1, i128::from(held.stamp.as_nanos()));
    }
    assert_eq!(world.full(), 0);
}

#[test]
fn nothing_outside_is_touched() {
    let mut world = World::new();
    let outside = world.dir.parent().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    // Folders of the tree that lead elsewhere, and things in the place of links.
    symlink(&outside, world.dir.join("userspace")).unwrap();
    symlink("../outside", world.dir.join("resource-r")).unwrap();
    fs::create_dir_all(world.dir.join("defaults/folder")).unwrap();
    fs::write(world.dir.join("defaults/file"), "x").unwrap();
    for (i, key) in [
        "userspace/a",
        "resource-r/size",
        "resource-r/todo-h/attach",
        "defaults/folder",
        "defaults/file",
        "defaults/.tmp.mars-mirror",
        "defaults/.deleted-x",
        "defaults/good",
        "...",
    ]
    .into_iter()
    .enumerate()
    {
        world
            .store
            .merge(entry(key, Some("../../../outside/b"), BASE + i as u64, 2));
    }
    for _ in 0..3 {
        world.full();
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read(world.dir.join("defaults/file")).unwrap(), b"x");
    assert!(world.link("defaults/good").is_some());
    assert!(world.link("defaults/.deleted-x").is_none());
    let mut names: Vec<_> = fs::read_dir(world.dir.join("defaults"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["file", "folder", "good"]);
}

#[test]
fn only_legacy_trees_and_empty_folders_are_mirrored() {
    let tmp = tempfile::tempdir().unwrap();
    fs::write(tmp.path().join("passwd"), "x").unwrap();
    assert!(matches!(
        MirrorTree::open(tmp.path()),
        Err(MirrorError::NoTree(_))
    ));
    let empty = tempfile::tempdir().unwrap();
    let mut tree = MirrorTree::open(empty.path()).unwrap();
    fs::rename(empty.path(), tmp.path().join("elsewhere")).unwrap();
    assert!(matches!(tree.changes(), Err(MirrorError::Gone(_))));
    fs::create_dir(empty.path()).unwrap();
    assert!(matches!(tree.scan(), Err(MirrorError::Gone(_))));
}

#[test]
fn a_stamp_far_in_the_future_is_corrected_on_both_sides() {
    let mut world = World::new();
    put(&world.dir, "userspace/x", "late", 2 * NOW);
    world.full();
    let held = world
        .store
        .entry(&Key::parse("userspace/x").unwrap())
        .unwrap();
    assert_eq!(
        (held.stamp, held.origin),
        (Timestamp::from_nanos(NOW), NodeId::IMPORTED)
    );
    assert!(matches!(held.cell, Cell::Live(_)));
    assert_eq!(
        world.link("userspace/x"),
        Some(("late".to_owned(), i128::from(NOW)))
    );
    assert_eq!(world.full(), 0);
}

#[test]
fn deep_keys_are_kept_in_step_where_the_tree_has_their_folder() {
    let mut world = World::new();
    put(&world.dir, "userspace/a/b", "1", BASE + 1);
    world.full();
    let change = |world: &mut World, key: &str, text: Option<&str>, stamp: u64| {
        world.store.merge(entry(key, text, BASE + stamp, 1));
        world.incremental(&[Key::parse(key).unwrap()])
    };
    // Changes, deletions and new ones of the store reach the tree one by one.
    assert_eq!(change(&mut world, "userspace/a/b", Some("2"), 2), 1);
    let two = Some(("2".to_owned(), i128::from(BASE + 2)));
    assert_eq!(world.link("userspace/a/b"), two);
    assert_eq!(change(&mut world, "userspace/a/c", Some("3"), 3), 1);
    let three = Some(("3".to_owned(), i128::from(BASE + 3)));
    assert_eq!(world.link("userspace/a/c"), three);
    assert_eq!(change(&mut world, "userspace/a/b", None, 4), 1);
    assert_eq!(world.link("userspace/a/b"), None);
    // What comes of the tree goes on as before, and nothing is left to do.
    put(&world.dir, "userspace/a/b", "5", BASE + 5);
    assert_eq!(world.incremental(&[]), 1);
    assert_eq!(world.full(), 0);
    // Where there is no folder none is made, and it is told.
    let nowhere = Key::parse("resource-r/userspace/x/y").unwrap();
    assert_eq!(change(&mut world, nowhere.as_str(), Some("6"), 6), 0);
    let scan = world.tree.scan().unwrap();
    let out = compare(&scan, &world.store, &Scope::All, &ImportOptions::at(NOW));
    assert_eq!(out.kept, [(nowhere, Answer::TooDeep)]);
    // A key of the folder's own name is compared, too.
    put(&world.dir, "userspace/k", "7", BASE + 7);
    let mut related = Related::default();
    related.add(&world.tree, b"userspace/k/l");
    related.add(&world.tree, b"userspace/k");
    assert!(related.keys.contains(&Key::parse("userspace/k").unwrap()));
}

#[test]
fn what_can_be_no_key_is_named() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut world = World::new();
    put(&world.dir, "roster/hosta", "x", BASE);
    put(&world.dir, "userspace/.tmp.x", "x", BASE);
    put(&world.dir, "ignored", "x", BASE);
    let odd = std::ffi::OsStr::from_bytes(b"userspace/\xff\x1b");
    symlink("x", world.dir.join(odd)).unwrap();
    let scan = world.tree.scan().unwrap();
    let out = compare(&scan, &world.store, &Scope::All, &ImportOptions::at(NOW));
    let paths: Vec<&str> = out.skipped.iter().map(|row| row.path.as_str()).collect();
    assert_eq!(paths, ["roster", "userspace/\\xff\\x1b"]);
}
