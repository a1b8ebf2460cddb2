//! Tests of the engine: templates as text, variables and macros as given.

use super::*;
use proptest::prelude::*;

/// Variables as given, and macros `=TEXT`, which give TEXT, and `NAME=VALUE`, which set a variable.
#[derive(Default)]
struct Vars {
    given: BTreeMap<String, String>,
    set: BTreeMap<String, String>,
}

impl Vars {
    fn of(pairs: &[(&str, &str)]) -> Self {
        let given = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Self {
            given: given.collect(),
            set: BTreeMap::new(),
        }
    }
}

impl Lookup for Vars {
    fn begin(&mut self, resource: Option<&str>) {
        self.set.clear();
        if let Some(resource) = resource {
            self.set.insert("res".into(), resource.into());
        }
    }
    fn bind(&mut self, name: &str, value: &str) {
        self.set.insert(name.into(), value.into());
    }
    fn var(&mut self, name: &str) -> Option<String> {
        self.set.get(name).or_else(|| self.given.get(name)).cloned()
    }
    fn eval(&mut self, text: &str) -> Result<String, String> {
        match text.split_once('=') {
            Some(("", value)) => Ok(value.to_owned()),
            Some((name, value)) => {
                self.bind(name, value);
                Ok("\n".into())
            }
            None => Err(format!("there is no macro `{text}`")),
        }
    }
}

fn templates(list: &[(&str, &str)]) -> Vec<Template> {
    list.iter()
        .map(|(name, text)| Template {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        })
        .collect()
}

fn wanted(list: &[(&str, &str)]) -> BTreeMap<String, (UnitName, UnitName)> {
    list.iter()
        .map(|(res, unit)| {
            let unit = UnitName::parse(unit).unwrap();
            ((*res).to_owned(), (unit.clone(), unit))
        })
        .collect()
}

fn names(generated: &Generated) -> Vec<&str> {
    generated.units.keys().map(UnitName::as_str).collect()
}

#[test]
fn units_come_with_all_that_they_depend_on() {
    let t = templates(&[
        (
            "app-@escvar{res}.service",
            "# APP_START\n[Unit]\nRequires=mnt-@escvar{res}.mount network.target\n\
             # ALSO=watch-@escvar{res}.timer\n[Service]\nExecStart=/bin/app --res=@{res}\n",
        ),
        (
            "mnt-^{what}.mount",
            "# APP_STOP\n[Mount]\nWhat=/dev/mars/@{res}\nWhere=/mnt/@{res}\n# @{what}\n",
        ),
        ("watch-^{x}.timer", "[Timer]\nUnit=watch-@{x}.service\n"),
        ("watch-^{x}.service", "[Service]\nExecStart=/bin/watch\n"),
        ("^{x}.target", "[Unit]\n"),
        ("always.target", "# ALWAYS_START\n[Unit]\n"),
        ("unused-@{res}.service", "[Unit]\n"),
    ]);
    let made = generate(
        &t,
        &wanted(&[("my-data", "app-my\\x2ddata.service")]),
        &mut Vars::default(),
    );
    assert_eq!(made.faults, []);
    assert_eq!(
        names(&made),
        [
            "always.target",
            "app-my\\x2ddata.service",
            "mnt-my\\x2ddata.mount",
            "watch-my\\x2ddata.service",
            "watch-my\\x2ddata.timer"
        ]
    );
    let mount = &made.units[&UnitName::parse("mnt-my\\x2ddata.mount").unwrap()];
    assert_eq!(mount.resource.as_deref(), Some("my-data"));
    assert_eq!(
        mount.text,
        "# APP_STOP\n[Mount]\nWhat=/dev/mars/my-data\nWhere=/mnt/my-data\n# my\\x2ddata\n"
    );
    let always = &made.units[&UnitName::parse("always.target").unwrap()];
    assert_eq!(always.resource, None);
    assert!(always.markers.contains("ALWAYS_START"));
}

#[test]
fn macros_set_variables_and_verbatim_is_left_alone() {
    let t = templates(&[(
        "a-@{res}.service",
        "@eval{dir=lib}\n[Service]\nExecStart=/bin/a /var/@{dir}/@{res} @verbatim{%i @{x}}\nDescription=@eval{=a b}\n",
    )]);
    let made = generate(&t, &wanted(&[("r", "a-r.service")]), &mut Vars::default());
    assert_eq!(made.faults, []);
    let unit = made.units.values().next().unwrap();
    assert_eq!(
        unit.text,
        "\n[Service]\nExecStart=/bin/a /var/lib/r %i @{x}\nDescription=a b\n"
    );
}

#[test]
fn paths_name_mounts_and_devices() {
    let text = "RequiresMountsFor=/mnt/a-b/ /\nAfter=/dev/mars/x\nFoo=no.service\n #ALSO=no.service\n\
                # After=no.service\nWants=a.service \\\n b.service\n";
    assert_eq!(
        dependencies(text),
        [
            "mnt-a\\x2db.mount",
            "-.mount",
            "dev-mars-x.device",
            "a.service",
            "b.service"
        ]
    );
}

#[test]
fn faults_name_template_line_reason_and_next_step() {
    let t = templates(&[
        ("a-@{res}.service", "[Unit]\n\nDescription=@{nothing}\n"),
        ("b-@{res}.service", "[Unit]\nDescription=@eval{boom}\n"),
        ("c-@{res}.service", "[Unit]\nDescription=@{evil}\n"),
        ("d-@{res.service", "[Unit]\n"),
    ]);
    let mut vars = Vars::of(&[("evil", "x\n[Service]\nExecStart=/bin/sh")]);
    for (unit, line, why) in [
        ("a-r.service", 3, "variable nothing is not set"),
        ("b-r.service", 2, "there is no macro"),
        ("c-r.service", 2, "contains '\\n'"),
        ("e-r.service", 0, "no template is installed"),
    ] {
        let made = generate(&t, &wanted(&[("r", unit)]), &mut vars);
        assert_eq!(names(&made), [""; 0]);
        let fault = made
            .faults
            .iter()
            .find(|f| f.unit.as_deref() == Some(unit))
            .unwrap();
        assert_eq!(fault.line, line, "{fault}");
        assert!(fault.why.contains(why), "{fault}");
        assert!(fault.to_string().contains("; next: "), "{fault}");
        assert!(made.faults.iter().any(|f| f.why.contains("not closed")));
    }
}

#[test]
fn one_unit_is_not_made_for_two_resources() {
    let t = templates(&[
        ("same.^{x}", ""),
        ("^{x}.service", "[Unit]\nDescription=@{res}\n"),
    ]);
    let made = generate(
        &t,
        &wanted(&[("r", "x.service"), ("s", "x.service")]),
        &mut Vars::default(),
    );
    assert_eq!(names(&made), ["x.service"]);
    assert!(
        made.faults[0]
            .to_string()
            .contains("for resource r already")
    );
}

#[test]
fn keywords_stand_for_the_units_of_their_templates() {
    let t = templates(&[
        ("app-@escvar{res}.service", "# APP_START\n# ONE_START\n"),
        ("mnt-@escvar{res}.mount", "# APP_STOP\n"),
        ("any-^{x}.service", "# ANY_START\n"),
    ]);
    let mut vars = Vars::default();
    let mut find = |start: &str, stop: &str| {
        let (start, stop) = keyword_units(&t, "a-b", start, stop, &mut vars)?;
        Ok::<_, String>(format!("{start} {stop}"))
    };
    assert_eq!(
        find("APP", "APP").unwrap(),
        "app-a\\x2db.service mnt-a\\x2db.mount"
    );
    assert_eq!(
        find("ONE", "ONE").unwrap(),
        "app-a\\x2db.service app-a\\x2db.service"
    );
    assert!(find("NO", "NO").unwrap_err().contains("# NO_START"));
    assert!(find("ONE", "NO").unwrap_err().contains("# NO_STOP"));
    assert!(find("ANY", "ANY").unwrap_err().contains("^{x}"));
    assert_eq!(
        with_escaped_resource("x-a-b.mount", "a-b"),
        "x-a\\x2db.mount"
    );
    assert!(is_keyword("A_1") && !is_keyword("a") && !is_keyword("_A") && !is_keyword("A.B"));
}

#[test]
fn limits_hold() {
    let chain: Vec<(String, String)> = (0..UNITS_MAX + 10)
        .map(|i| (format!("u{i}.service"), "[Unit]\n".to_owned()))
        .collect();
    let t: Vec<Template> = chain
        .into_iter()
        .map(|(name, text)| Template { name, text })
        .collect();
    let made = generate(&t, &BTreeMap::new(), &mut Vars::default());
    assert_eq!(made.units.len(), UNITS_MAX);
    assert!(made.faults[0].why.contains("more than"));
    let t = templates(&[("x-@{res}.service", &"#\n".repeat(UNIT_TEMPLATE_MAX))]);
    let made = generate(&t, &wanted(&[("r", "x-r.service")]), &mut Vars::default());
    assert!(made.faults[0].why.contains("more than"));
    // A pattern that asks for ever new units.
    let t = templates(&[("^{x}.service", "[Unit]\nWants=a-@{x}.service\n")]);
    let made = generate(&t, &wanted(&[("r", "x.service")]), &mut Vars::default());
    assert!(made.units.len() <= crate::limits::UNIT_NAME_MAX);
}

#[test]
fn values_name_no_unit_of_others() {
    let t = templates(&[
        (
            "app-@{res}.service",
            "[Unit]\nRequires=@{v}\nAfter=network.target sshd.service\n[Service]\nExecStart=/bin/app\n",
        ),
        ("mnt-^{what}.mount", "[Mount]\nWhat=/dev/mars/r\n"),
        ("^{any}.target", "[Unit]\n"),
        ("inst@.service", "[Service]\nExecStart=/bin/i\n"),
        (
            "plain-@{res}.service",
            "[Unit]\nWants=inst@.service\nRequiresMountsFor=@{v}\n",
        ),
    ]);
    for (value, good) in [
        ("mnt-a.mount", true),
        ("mine.target", true),
        ("x.device", true),
        ("", true),
        ("sshd.service", false),
        ("poweroff.target", false),
        ("mnt-a", false),
        ("mnt-a.mount,sshd.service", false),
        ("app-other.service", false),
        ("/mnt/a", true),
        ("/srv/x", false),
        ("/", false),
        ("-.mount", false),
        ("user.slice", false),
    ] {
        let made = generate(
            &t,
            &wanted(&[("r", "app-r.service")]),
            &mut Vars::of(&[("v", value)]),
        );
        assert_eq!(names(&made).contains(&"app-r.service"), good, "{value}");
        if !good {
            let why = made.faults[0].to_string();
            assert!(
                why.contains("Requires= would name") && why.contains("line 2"),
                "{why}"
            );
        }
    }
    // What another unit would have been is taken out with it.
    let t = templates(&[
        ("a-@{res}.service", "[Unit]\nWants=b-@{res}.service\n"),
        ("b-@{res}.service", "[Unit]\nConflicts=@{v}\n"),
    ]);
    let mut vars = Vars::of(&[("v", "sshd.service")]);
    let made = generate(&t, &wanted(&[("r", "a-r.service")]), &mut vars);
    assert_eq!((made.units.len(), made.faults.len()), (0, 2), "{made:?}");
}

proptest! {
    /// Keys of others never bring more to life than the installed templates, whatever they hold.
    #[test]
    fn values_only_choose_among_templates(
        value in "(?s).{0,30}|[a-z/.%@\\\\-]{0,20}(\\.service|\\.mount)",
        evil in "(?s).{0,40}|\n?(\\[Service\\]|ExecStart=/bin/sh)\n?",
    ) {
        let t = templates(&[
            ("app-@{res}.service", "[Service]\nExecStart=/bin/app @{evil}\n"),
            ("mnt-@{res}.mount", "[Mount]\nWhat=/dev/mars/@{evil}\n"),
            ("dep-@{res}.service", "[Unit]\nRequires=@{evil}\n"),
        ]);
        let mut vars = Vars::of(&[("evil", &evil)]);
        let Ok(unit) = UnitName::parse(&value) else { return Ok(()) };
        let made = generate(&t, &[("r".to_owned(), (unit.clone(), unit))].into(), &mut vars);
        let all = ["app-r.service", "mnt-r.mount", "dep-r.service"];
        prop_assert!(names(&made).iter().all(|n| all.contains(n)));
        let named = made.units.values().filter_map(|unit| unit.text.split_once("Requires=")?.1.lines().next());
        prop_assert!(named.into_iter().all(|n| n.trim().is_empty() || all.contains(&n) || n.ends_with(".device")));
        let both = generate(&t, &wanted(&[("r", "app-r.service"), ("s", "mnt-s.mount")]), &mut vars);
        for unit in both.units.values() {
            prop_assert_eq!(unit.text.lines().count(), 2, "{}", &unit.text);
        }
    }
}
