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
