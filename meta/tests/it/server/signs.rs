//! What a daemon says of itself, and who takes it back.

use super::*;

fn held(server: &Server, text: &str) -> (Option<String>, Timestamp) {
    let entry = server.meta.get(&key(text)).unwrap();
    (entry.text().map(str::to_owned), entry.stamp)
}

/// Ends a connection, and waits until the server has noticed it and one that ended later.
async fn ended(server: &Server, client: Client) {
    let marker = "actual-marker/datapath";
    let last = server.client().await;
    last.apply([set(marker, "1.0")], false).await.unwrap();
    drop(client);
    drop(last);
    soon(async {
        while held(server, marker).0.as_deref() != Some("0") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_sign_of_life_is_taken_back_when_its_connection_breaks() {
    let server = Server::start().await;
    let client = server.client().await;
    // The later one of a connection counts; other keys of the host are none.
    for value in ["1.0", "2.0"] {
        client.apply([set(SIGN, value)], false).await.unwrap();
    }
    let other = "actual-hosta/log-space";
    client.apply([set(other, "1,2")], false).await.unwrap();
    assert_eq!(held(&server, SIGN).0.as_deref(), Some("2.0"));
    ended(&server, client).await;
    soon(async {
        while held(&server, SIGN).0.as_deref() != Some("0") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(held(&server, other).0.as_deref(), Some("1,2"));
}

#[tokio::test]
async fn the_sign_of_life_of_a_successor_stands() {
    let server = Server::start().await;
    let old = server.client().await;
    old.apply([set(SIGN, "1.0")], false).await.unwrap();
    let new = server.client().await;
    new.apply([set(SIGN, "2.0")], false).await.unwrap();
    let before = held(&server, SIGN);
    assert_eq!(before.0.as_deref(), Some("2.0"));
    ended(&server, old).await;
    assert_eq!(held(&server, SIGN), before);
    // One that said itself that it ends is not corrected.
    new.apply([set(SIGN, "0")], false).await.unwrap();
    let before = held(&server, SIGN);
    ended(&server, new).await;
    assert_eq!(held(&server, SIGN), before);
}

/// A server that finds a data plane silent after 8 times 40 ms.
async fn impatient() -> Server {
    let meta = Meta::with_store(MemStore::default(), &config(Path::new("unused"))).unwrap();
    let config = ServerConfig {
        sign_tick: Duration::from_millis(40),
        ..ServerConfig::new(Arc::new(|_| true))
    };
    Server::over(meta, config).await
}

async fn becomes(server: &Server, text: &str, wanted: &str) -> Timestamp {
    soon(async {
        loop {
            let (value, stamp) = held(server, text);
            if value.as_deref() == Some(wanted) {
                return stamp;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_data_plane_that_falls_silent_is_told_since_when() {
    let server = impatient().await;
    let client = server.client().await;
    client.call(Request::Clock).await.unwrap();
    client.apply([set(SIGN, "5.0")], false).await.unwrap();
    // Nothing more is heard, though the connection stands.
    becomes(&server, SIGN, "0").await;
    let silent = format!("{SIGN}-silent");
    let since: Timestamp = held(&server, &silent).0.unwrap().parse().unwrap();
    assert!(since.secs() > 0 && since.as_nanos() <= server.meta.clock().0);
    // It goes on, and says so.
    client
        .apply([set(SIGN, "5.0"), set(&silent, "0")], false)
        .await
        .unwrap();
    becomes(&server, SIGN, "0").await;
    assert_ne!(
        held(&server, &silent).0.as_deref(),
        Some("0"),
        "silent again"
    );
    // Ended for good, it is silent no more.
    drop(client);
    becomes(&server, &silent, "0").await;
    assert_eq!(held(&server, SIGN).0.as_deref(), Some("0"));
}

#[tokio::test]
async fn who_is_heard_or_never_was_is_not_silent() {
    let server = impatient().await;
    let old = server.client().await;
    let never = "actual-hostb/datapath";
    old.apply([set(never, "1.0")], false).await.unwrap();
    let client = server.client().await;
    client.apply([set(SIGN, "5.0")], false).await.unwrap();
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_millis(600) {
        client.call(Request::Clock).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(held(&server, SIGN).0.as_deref(), Some("5.0"));
    assert_eq!(
        held(&server, never).0.as_deref(),
        Some("1.0"),
        "an older data plane"
    );
}
