//! What an administrator sees on a node that is no member of a resource.

use crate::world::World;

#[test]
fn a_resource_of_others_is_seen_from_outside() {
    let w = World::replicated(3, "16M");
    w.ok("hosta", "wait-resource mydata is-uptodate --timeout 60");
    w.ok("hostc", "down mydata");
    w.ok("hostc", "leave-resource mydata");
    // Asked at a member, for the time of the command.
    w.until("hostc", "view mydata --host=hosta", |said| {
        let here = w.ok("hosta", "view mydata");
        let there = said
            .out
            .lines()
            .filter(|line| !line.starts_with("ATTENTION"));
        here.contains("Primary hosta") && here.lines().eq(there)
    });
    w.until("hostc", "status mydata", |said| {
        said.out.contains("outside") && said.out.contains("2/2")
    });
    assert!(
        w.ok("hostc", "explain mydata --of hosta")
            .contains("mydata")
    );
    // Without a question: summaries, which come after a while.
    w.until("hostc", "status --all", |said| {
        said.out.contains("elsewhere: 1 resource")
            && said.out.contains("primary consistent logging")
    });
    // As long as it is looked at, all of it, without a question for each look.
    w.until("hostc", "top --batch", |said| {
        let row = said.out.lines().find(|line| line.contains("mydata"));
        row.is_some_and(|row| row.contains("outside") && row.contains("2/2"))
    });
    let events = w.ok("hostc", "events --resource mydata");
    let health = events
        .lines()
        .find(|line| line.contains(r#""host":"hosta","resource":"mydata","subject":"health""#));
    assert!(
        health.is_some_and(|line| line.contains(r#""to":"OK""#)),
        "{events}"
    );
    // No member is there any more.
    w.must(&["kill", "hosta"]);
    w.must(&["kill", "hostb"]);
    let said = w.exec("hostc", "status mydata --timeout 4");
    assert_eq!(said.code, Some(1), "{said:?}");
    let told = format!("{}{}", said.out, said.err);
    assert!(
        told.contains("summar") && told.contains("primary consistent"),
        "{told}"
    );
}
