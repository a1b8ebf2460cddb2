//! A return costs what changed, not what is held.

use mars_sim::bench::{Rejoin, returns};

#[test]
fn who_comes_back_is_sent_what_changed_however_much_is_held() {
    let cost = |keys| {
        let what = Rejoin {
            keys,
            changed: 200,
            loss: 0.0,
            seed: 1,
        };
        returns(what).unwrap()
    };
    let (few, many) = (cost(2_000), cost(20_000));
    let growth = |few: u64, many: u64| many as f64 / few as f64;
    // With a cursor ten times the keys cost nothing.
    let with_cursor = growth(few.with_cursor.bytes, many.with_cursor.bytes);
    assert!((0.9..1.1).contains(&with_cursor), "{few:?} {many:?}");
    // Without, the logarithm of it: far less than ten times.
    let without = growth(few.without_cursor.bytes, many.without_cursor.bytes);
    assert!(without < 2.5, "{few:?} {many:?}");
    assert!(many.without_cursor.bytes * 10 < many.listing as u64);
    let two_round_trips = std::time::Duration::from_millis(100);
    assert!(many.with_cursor.took < two_round_trips, "{many:?}");
    assert!(many.without_cursor.took < 2 * two_round_trips, "{many:?}");
}
