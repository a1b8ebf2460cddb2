//! The example of the documentation runs.

#[path = "../../examples/embedded.rs"]
#[expect(dead_code, reason = "main is the example's own")]
mod example;

#[test]
fn the_embedded_example_runs() {
    let dir = tempfile::tempdir().unwrap();
    let lines = example::run(&dir.path().join("db")).unwrap();
    assert_eq!(
        lines,
        [
            "colour is blue",
            "snapshot: userspace/colour",
            "changed: userspace/shape = round",
            "changed: userspace/colour is deleted",
            "reopened: shape is round, colour is deleted",
        ]
    );
}
