//! Who is alive: made up at each reading, never stored.

use super::*;

#[tokio::test]
async fn liveness_is_answered_from_the_daemon_and_never_stored() {
    let server = Server::start().await;
    let client = server.client().await;
    let (wall, _) = server.meta.clock();
    let old = wall - 100_000_000_000;
    server
        .control
        .heard
        .lock()
        .unwrap()
        .extend([("hosta".to_owned(), wall), ("hostb".to_owned(), old)]);
    let text = |entry: Option<Entry>| entry.and_then(|e| e.text().map(str::to_owned));
    let alive = client.get(&key("actual-hosta/alive")).await.unwrap();
    assert_eq!(text(alive).as_deref(), Some("1"));
    let time = client.get(&key("actual-hostb/time")).await.unwrap();
    assert_eq!(text(time), Some(Timestamp::from_nanos(old).to_string()));
    assert_eq!(client.get(&key("actual-hostc/alive")).await.unwrap(), None);
    client
        .apply([set("actual-hosta/speed", "7"), set("b", "1")], false)
        .await
        .unwrap();
    let listed = client.list("", false).await.unwrap();
    let keys: Vec<&str> = listed.iter().map(|e| e.key.as_str()).collect();
    let expected = [
        "actual-hosta/alive",
        "actual-hosta/speed",
        "actual-hosta/time",
        "actual-hostb/alive",
        "actual-hostb/time",
        "b",
    ];
    assert_eq!(keys, expected);
    assert_eq!(server.meta.with_table(mars_meta_model::Table::len), 2);

    let mut watch = client.watch(&["actual-hostb/alive"]).await.unwrap();
    let WatchEvent::Entries(first) = soon(watch.next()).await.unwrap() else {
        panic!("entries");
    };
    assert_eq!(show(&first), ["actual-hostb/alive=0"]);
    assert_eq!(soon(watch.next()).await.unwrap(), WatchEvent::Synced);
    server
        .control
        .heard
        .lock()
        .unwrap()
        .insert("hostb".to_owned(), wall);
    let WatchEvent::Entries(change) = soon(watch.next()).await.unwrap() else {
        panic!("entries");
    };
    assert_eq!(show(&change), ["actual-hostb/alive=1"]);
}

#[tokio::test]
async fn a_live_node_is_not_hidden_by_the_heartbeat_of_an_imported_tree() {
    let server = Server::start().await;
    let client = server.client().await;
    let (wall, _) = server.meta.clock();
    let old = [
        ("actual-hosta/time", "5.000000000"),
        ("actual-hosta/alive", "0"),
        ("actual-hostb/time", "6.000000000"),
    ];
    let old = old.map(|(name, text)| entry(name, Some(text), 5_000_000_000, 1));
    let entries = EntryBytes::pack(&old);
    client
        .call(Request::Import {
            entries,
            insist: false,
        })
        .await
        .unwrap();
    let value = async |name: &str| {
        let entry = client.get(&key(name)).await.unwrap().unwrap();
        entry.text().unwrap().to_owned()
    };
    assert_eq!(value("actual-hosta/time").await, "5.000000000");
    let heard = &server.control.heard;
    heard.lock().unwrap().insert("hosta".to_owned(), wall);
    let now = Timestamp::from_nanos(wall).to_string();
    assert_eq!(value("actual-hosta/time").await, now);
    assert_eq!(value("actual-hosta/alive").await, "1");
    assert_eq!(value("actual-hostb/time").await, "6.000000000");
    let wanted = [
        "actual-hosta/alive=1".to_owned(),
        format!("actual-hosta/time={now}"),
        "actual-hostb/time=6.000000000".to_owned(),
    ];
    assert_eq!(show(&client.list("actual-", false).await.unwrap()), wanted);
    // Who watches merges what is stored with what is made up.
    let mut watch = client.watch(&["actual-"]).await.unwrap();
    let mut table = mars_meta_model::Table::new();
    loop {
        match soon(watch.next()).await.unwrap() {
            WatchEvent::Entries(entries) => {
                for entry in entries {
                    table.merge(entry);
                }
            }
            WatchEvent::Synced => break,
            WatchEvent::Lagged => panic!("lagged"),
        }
    }
    let held: Vec<Entry> = table.iter().cloned().collect();
    assert_eq!(show(&held), wanted);
    // Heard of before the tree was, it says nothing newer.
    heard
        .lock()
        .unwrap()
        .insert("hosta".to_owned(), 4_000_000_000);
    assert_eq!(value("actual-hosta/time").await, "5.000000000");
}
