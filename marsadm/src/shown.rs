//! Texts from elsewhere on their way to a terminal.

pub use mars_meta_model::shown;

#[cfg(test)]
mod tests {
    use crate::ui::Ui;

    #[test]
    fn messages_never_steer_a_terminal() {
        let (ui, out) = Ui::captured();
        ui.note("a\x1b]0;x\x07\nb");
        ui.error(
            "marsadm",
            &crate::error::Error::refused("c\x1b[2J").hint("d\u{9b}"),
        );
        ui.detail("e\x07");
        let said = out.stderr();
        assert_eq!(said.matches('\n').count(), 4, "{said:?}");
        assert!(
            !said.replace('\n', "").chars().any(char::is_control),
            "{said:?}"
        );
        let (ui, out) = Ui::captured_terminal();
        ui.line("one\x1b[2J\ttwo\nthree");
        assert_eq!(out.stdout(), "one\\x1b[2J\ttwo\nthree\n");
        let (ui, out) = Ui::captured();
        ui.line("one\x1b[2J");
        assert_eq!(out.stdout(), "one\x1b[2J\n");
    }

    #[test]
    fn only_terminals_get_escapes() {
        let (ui, out) = Ui::captured();
        ui.value(b"a\x1b[0m\xff");
        assert_eq!(out.out.lock().unwrap().as_slice(), b"a\x1b[0m\xff\n");
        let (ui, out) = Ui::captured_terminal();
        ui.value(b"a\x1b[0m\xff");
        assert_eq!(out.stdout(), "a\\x1b[0m\u{fffd}\n");
    }
}
