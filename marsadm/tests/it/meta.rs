//! Backup, restore and check of the store.

use crate::World;
use crate::schema;
use marsadm::error::Kind;
use serde_json::Value;

async fn document(w: &World, line: &str) -> Value {
    let words: Vec<&str> = line.split(' ').collect();
    let (_, captured) = crate::documents::execute(w, &words).await;
    let document: Value = serde_json::from_str(&captured.stdout()).unwrap();
    schema::check(&document).unwrap();
    document
}

#[tokio::test]
async fn an_old_backup_does_no_harm_and_brings_back_what_was_lost() {
    let w = World::new(&["hosta"]);
    let file = w.dir.path().join("old.exp");
    let file = file.display();
    for key in ["kept", "changed", "deleted", "lost"] {
        w.double.put(&[(&format!("userspace/{key}"), "old")]);
    }
    w.double
        .put(&[("userspace/before", "1"), ("userspace/before", "")]);
    let made = document(&w, &format!("-o json meta export {file}")).await;
    assert_eq!(
        (&made["kind"], &made["data"]["deleted"]),
        (&"StoreExport".into(), &1.into())
    );
    w.fails(&format!("meta export {file}"), Kind::Refused, "exists")
        .await;
    w.ok(&format!("meta export {file} --force")).await;

    w.double
        .put(&[("userspace/changed", "new"), ("userspace/deleted", "")]);
    let lost = mars_meta_model::Key::parse("userspace/lost").unwrap();
    let stamp = |w: &World| {
        let state = w.double.state.lock().unwrap();
        let held = mars_meta_model::View::entry(&state.table, &lost);
        held.map(|entry| entry.stamp)
    };
    let before = stamp(&w);
    w.double.state.lock().unwrap().table.remove(&lost);
    let read = document(&w, &format!("-o json meta import {file} --dry-run")).await;
    let counted = (&read["data"]["taken"], &read["data"]["dry_run"]);
    assert_eq!(counted, (&1.into(), &true.into()));
    assert_eq!(stamp(&w), None);
    let read = document(&w, &format!("-o json meta import {file}")).await;
    assert_eq!(read["kind"], "StoreImport");
    assert_eq!(
        (&read["data"]["taken"], &read["data"]["older"]),
        (&1.into(), &2.into())
    );
    let text = |key: &str| w.double.get(&format!("userspace/{key}"));
    assert_eq!(text("kept").as_deref(), Some("old"));
    assert_eq!(text("changed").as_deref(), Some("new"));
    assert_eq!(text("deleted"), None);
    assert_eq!(text("lost").as_deref(), Some("old"));
    assert_eq!(stamp(&w), before, "stamps are kept");
}

#[tokio::test]
async fn what_may_have_been_deleted_is_named_and_comes_back_by_name_only() {
    let w = World::new(&["hosta"]);
    let file = w.dir.path().join("old.exp");
    let file = file.display();
    w.double.put(&[
        ("directory/r/member-hostx", "storage"),
        ("userspace/k", "1"),
    ]);
    w.ok(&format!("meta export {file}")).await;
    // Deleted since, and the deletion is forgotten.
    let gone = mars_meta_model::Key::parse("directory/r/member-hostx").unwrap();
    {
        let mut state = w.double.state.lock().unwrap();
        state.floor = mars_meta_model::View::entry(&state.table, &gone)
            .unwrap()
            .stamp;
        state.table.remove(&gone);
    }
    let seen = w.ok(&format!("meta import {file} --dry-run")).await;
    let (out, err) = (seen.stdout(), seen.stderr());
    assert!(
        out.contains("maybe deleted: directory/r/member-hostx\n"),
        "{out}"
    );
    assert!(out.contains(" would be taken, "), "{out}");
    assert!(
        err.contains("would be left out") && err.contains("--bring-back"),
        "{err}"
    );
    let read = document(
        &w,
        &format!("-o json meta import {file} --dry-run --bring-back"),
    )
    .await;
    assert_eq!(read["data"]["taken_anew"], 1);
    assert_eq!(w.double.get(gone.as_str()), None);
    let seen = w.ok(&format!("meta import {file}")).await;
    let named = "maybe deleted: directory/r/member-hostx\n";
    assert!(seen.stdout().contains(named), "{}", seen.stdout());
    assert!(seen.stderr().contains("--bring-back"), "{}", seen.stderr());
    assert_eq!(w.double.get(gone.as_str()), None);
    let read = document(&w, &format!("-o json meta import {file}")).await;
    assert_eq!(read["data"]["maybe_deleted"][0], gone.as_str());
    assert_eq!(w.double.get(gone.as_str()), None);
    let read = document(&w, &format!("-o json meta import {file} --bring-back")).await;
    assert_eq!(read["data"]["taken_anew"], 1);
    assert_eq!(w.double.get(gone.as_str()).as_deref(), Some("storage"));
}

#[tokio::test]
async fn a_file_of_another_cluster_is_refused_before_anything_is_changed() {
    let other = World::new(&["hosta"]);
    for key in ["resource-r/primary", "defaults/ca-host", "userspace/k"] {
        other.double.put(&[(key, "before")]);
    }
    other
        .double
        .put(&[("uuid", "other_1.0"), ("resource-r/primary", "hostz")]);
    let file = other.dir.path().join("other.exp");
    let file = file.display();
    other.ok(&format!("meta export {file}")).await;

    let w = World::new(&["hosta"]);
    w.double
        .put(&[("resource-r/primary", "hosta"), ("uuid", "own_1.0")]);
    for options in ["", " --dry-run", " --bring-back"] {
        let line = format!("meta import {file}{options}");
        let error = w.fails(&line, Kind::Refused, "other_1.0").await;
        let told = error.to_string();
        assert!(told.contains("resource-r/primary"), "{told}");
    }
    let held = |key: &str| w.double.get(key);
    assert_eq!(held("resource-r/primary").as_deref(), Some("hosta"));
    assert_eq!(held("userspace/k"), None);
    let forced = w.ok(&format!("meta import {file} --force")).await;
    let told = forced.stderr();
    assert!(
        told.contains("overwrites") && told.contains("resource-r/primary"),
        "{told}"
    );
    assert_eq!(held("resource-r/primary").as_deref(), Some("hostz"));
}

#[tokio::test]
async fn a_damaged_backup_is_refused_as_a_whole() {
    let w = World::new(&["hosta"]);
    let path = w.dir.path().join("bad.exp");
    w.ok(&format!("meta export {}", path.display())).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let line = format!("meta import {}", path.display());
    w.fails(&line, Kind::Refused, "damaged").await;
    w.fails("meta import /nonexistent/x", Kind::NotFound, "No such")
        .await;
    let names: Vec<_> = std::fs::read_dir(w.dir.path()).unwrap().collect();
    assert_eq!(names.len(), 2, "no temporary file stays: {names:?}");
}

#[tokio::test]
async fn the_check_tells_a_store_from_what_is_none() {
    let w = World::new(&[]);
    let dir = w.dir.path().join("db");
    let line = format!("meta fsck {}", dir.display());
    w.fails(&line, Kind::NotFound, "no store").await;
    std::fs::create_dir(&dir).unwrap();
    let error = w.fails(&line, Kind::Negative, "conf").await;
    assert_eq!(error.kind.exit_code(), 1);
    let saved = w.dir.path().join("saved.exp");
    let line = format!("meta export --store {} {}", dir.display(), saved.display());
    w.fails(&line, Kind::Negative, "no key was found").await;
    assert!(!saved.exists());
}

/// What cannot be read is neither counted nor dated.
#[tokio::test]
async fn a_store_that_cannot_be_read_is_not_called_empty_or_old() {
    let w = World::new(&[]);
    let dir = w.dir.path().join("state/db");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::create_dir(w.dir.path().join("state/identity")).unwrap();
    let witness = w.dir.path().join("state/store-witness");
    std::fs::write(witness, "mars-witness-1 1 5\n").unwrap();
    let dir = dir.display().to_string();
    let (code, said) = crate::documents::execute(&w, &["meta", "fsck", &dir]).await;
    assert_eq!(code, 1);
    let out = said.stdout();
    assert!(out.contains("the file conf is not in the folder"), "{out}");
    for wrong in ["0 keys", "damaged", "older than", "it was at"] {
        assert!(!out.contains(wrong), "{out}");
    }
    let found = document(&w, &format!("-o json meta fsck {dir}")).await;
    let data = &found["partial"]["data"];
    assert!(data["unreadable"].is_string(), "{found}");
    assert!(data["live"].is_null(), "{found}");
    assert_eq!(data["next_start"], "refused");
}
