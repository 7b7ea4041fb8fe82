//! `read`, `prompt` and `complete`.

use crate::{documents::document, home::Home};

#[test]
fn resources_are_read_and_saved() {
    let home = Home::with_kit();
    assert_eq!(
        home.run(&["read", "testkit://readme"]).1,
        "A server for tests.\n"
    );
    assert_eq!(home.run(&["read", "testkit://item/7"]).1, "item 7\n");
    let (_, out, _) = home.run(&["read", "testkit://pixel"]);
    assert_eq!(
        out,
        "[testkit://pixel: application/octet-stream, 3 bytes; save it by -o FILE]\n"
    );
    let (code, out, err) = home.run(&["read", "testkit://pixel", "-o", "pixel"]);
    assert_eq!(
        (code, out.as_str(), err.trim()),
        (0, "", "saved 3 bytes to pixel")
    );
    assert_eq!(std::fs::read(home.path().join("pixel")).unwrap(), [0, 1, 2]);
    let read = document(&home, &["read", "testkit://pixel"], 0);
    assert_eq!(read["contents"][0]["blob"], "AAEC");
}

#[test]
fn a_resource_that_is_not_there_brings_the_nearest() {
    let (code, out, err) = Home::with_kit().run(&["read", "testkit://readmee"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("did you mean `testkit://readme`?"), "{err}");
}

#[test]
fn prompts_are_filled_in() {
    let home = Home::with_kit();
    for name in ["kit.greeting", "kit__greeting", "greeting"] {
        let (code, out, err) = home.run(&["prompt", name, "name=Ada"]);
        assert_eq!(
            (code, out.as_str()),
            (0, "Say hello to Ada.\n"),
            "{name}: {err}"
        );
    }
    let prompt = document(&home, &["prompt", "review", "language=Go"], 0);
    assert_eq!(prompt["messages"][0]["role"], "user");
    for (arguments, expected) in [
        (&["greeting"][..], "missing argument: name"),
        (&["greeting", "nmae=x"], "did you mean `name`?"),
        (&["greting"], "did you mean `kit.greeting`?"),
    ] {
        let (code, _, err) = home.run(&[&["prompt"], arguments].concat());
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(expected), "{err}");
    }
}

#[test]
fn arguments_of_prompts_are_completed_by_their_server() {
    let home = Home::with_kit();
    let (code, out, err) = home.run(&["complete", "kit.review", "language", "R"]);
    assert_eq!((code, out.as_str()), (0, "Ruby\nRust\n"), "{err}");
    let completed = document(&home, &["complete", "review", "language"], 0);
    assert_eq!(
        completed["completion"]["values"].as_array().unwrap().len(),
        6
    );
    let template = ["complete", "testkit://item/{number}", "number"];
    assert_eq!(home.run(&template).0, 0);
}
