use std::collections::BTreeSet;

use mcp_config::{AggregatorSettings, Exposure};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{aggregator::server_lists::List, reply::Reply};

/// A server with these lists.
fn source(server: &str, lists: &[(ListKind, Value)]) -> Source {
    let mut known = ServerLists::new(None);
    for (kind, items) in lists {
        let page = Reply::typed(&json!({ kind.member(): items }));
        known.insert(*kind, List::of(*kind, &page));
    }
    Source {
        server: server.into(),
        lists: Some(Arc::new(known)),
        filter: Arc::default(),
        selected: Selected::All,
    }
}

fn with_tools(server: &str, tools: &[&str]) -> Source {
    let tools: Vec<_> = tools.iter().map(|name| json!({"name": name})).collect();
    source(server, &[(ListKind::Tools, json!(tools))])
}

fn with_resources(server: &str, uris: &[&str], templates: &[&str]) -> Source {
    let resources: Vec<_> = uris
        .iter()
        .map(|uri| json!({"uri": uri, "name": uri}))
        .collect();
    let templates: Vec<_> = templates
        .iter()
        .map(|t| json!({"uriTemplate": t, "name": t}))
        .collect();
    let lists = [
        (ListKind::Resources, json!(resources)),
        (ListKind::Templates, json!(templates)),
    ];
    source(server, &lists)
}

fn exposing(source: Source, exposure: Exposure) -> Source {
    Source {
        filter: Arc::new(Filter::of(&exposure)),
        ..source
    }
}

fn table(sources: &[Source]) -> Table {
    Table::new(sources, &EffectiveAggregator::default(), None)
}

fn target(server: &str, own: &str) -> Found {
    Found::One(Target {
        server: server.into(),
        own: own.to_owned(),
    })
}

fn shown(table: &Table, kind: ListKind) -> Vec<String> {
    let key = |raw: &RawValue| -> Value { serde_json::from_str(raw.get()).unwrap() };
    let items = table.shown(kind).iter();
    items
        .map(|raw| key(raw)[kind.key()].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn tools_are_routed_by_the_table_and_not_by_their_names() {
    let table = table(&[with_tools("a", &["b__c", "d"]), with_tools("a__b", &["c"])]);
    let names = shown(&table, ListKind::Tools);
    assert_eq!(names[..2], ["a__b__c", "a__d"]);
    assert_eq!(table.tool("a__b__c"), target("a", "b__c"));
    assert_eq!(table.tool(&names[2]), target("a__b", "c"));
    assert_eq!(table.tool("d"), Found::Nothing);
    assert!(table.exposes_tool(&"a".into(), "d") && !table.exposes_tool(&"a".into(), "c"));
}

#[test]
fn what_is_filtered_is_neither_listed_nor_routed() {
    let exposure = Exposure::new()
        .deny(["rm*"])
        .alias("show", "cat")
        .description("show", "mine");
    let table = table(&[exposing(with_tools("fs", &["rmdir", "show"]), exposure)]);
    assert_eq!(shown(&table, ListKind::Tools), ["fs__cat"]);
    assert_eq!(
        table.shown(ListKind::Tools)[0].get(),
        r#"{"description":"mine","name":"fs__cat"}"#
    );
    assert_eq!(table.tool("fs__rmdir"), Found::Nothing);
    assert_eq!(table.tool("fs__show"), Found::Nothing);
    assert_eq!(table.tool("fs__cat"), target("fs", "show"));
}

#[test]
fn a_name_without_prefix_is_refused_where_it_is_ambiguous_and_yields_to_a_prefixed_one() {
    let bare = || Exposure::new().with(AggregatorSettings::new().prefix(Prefix::Never));
    let table = table(&[
        exposing(with_tools("a", &["search", "one", "c__x"]), bare()),
        exposing(with_tools("b", &["search", "two"]), bare()),
        with_tools("c", &["x"]),
    ]);
    assert_eq!(shown(&table, ListKind::Tools), ["one", "c__x", "two"]);
    assert_eq!(
        table.tool("search"),
        Found::Several(vec!["a".into(), "b".into()])
    );
    assert_eq!(table.tool("c__x"), target("c", "x"));
    assert_eq!(table.conflicts.len(), 2, "{:?}", table.conflicts);
}

#[test]
fn a_uri_is_unchanged_while_one_server_has_it() {
    let table = table(&[
        with_resources("a", &["x://1", "x://both"], &[]),
        with_resources("b", &["x://both"], &["y://{id}"]),
    ]);
    let both = ["x://1", "mcp+a:x%3A%2F%2Fboth", "mcp+b:x%3A%2F%2Fboth"];
    assert_eq!(shown(&table, ListKind::Resources), both);
    assert_eq!(table.uri("x://1"), target("a", "x://1"));
    assert_eq!(table.uri(both[2]), target("b", "x://both"));
    assert_eq!(
        table.uri("x://both"),
        Found::Several(vec!["a".into(), "b".into()])
    );
    assert_eq!(table.uri("y://7"), target("b", "y://7"));
    assert_eq!(table.uri("z://7"), Found::Nothing);
    assert_eq!(table.uri("mcp+unknown:z%3A"), Found::Nothing);
}

#[test]
fn of_templates_that_fit_the_one_that_says_more_is_meant() {
    let sources = [
        with_resources("a", &[], &["x://{+any}", "t://{a}"]),
        with_resources("b", &[], &["x://users/{id}", "t://{a}"]),
    ];
    let table = table(&sources);
    assert_eq!(table.uri("x://users/7"), target("b", "x://users/7"));
    assert_eq!(table.uri("x://groups/7"), target("a", "x://groups/7"));
    assert_eq!(
        table.uri("t://7"),
        Found::Several(vec!["a".into(), "b".into()])
    );
    assert_eq!(table.template("x://{+any}"), target("a", "x://{+any}"));
    let wrapped = &shown(&table, ListKind::Templates)[1];
    assert_eq!(wrapped, "mcp+a:t://{a}");
    assert_eq!(table.template(wrapped), target("a", "t://{a}"));
    assert_eq!(table.uri("mcp+b:t://7"), target("b", "t://7"));
}

#[test]
fn links_and_user_interfaces_lead_to_the_server_that_named_them() {
    let ui = json!([{"name": "t", "_meta": {"ui": {"resourceUri": "ui://app"}}}]);
    let own = json!([{"name": "t", "_meta": {"ui": {"resourceUri": "ui://own"}}}]);
    let table = table(&[
        source("a", &[(ListKind::Tools, ui.clone())]),
        source(
            "b",
            &[
                (ListKind::Tools, ui),
                (ListKind::Resources, json!([{"uri": "x://listed"}])),
            ],
        ),
        source("c", &[(ListKind::Tools, own)]),
    ]);
    let shown: Vec<_> = table
        .shown(ListKind::Tools)
        .iter()
        .map(|raw| raw.get().to_owned())
        .collect();
    assert!(shown[0].contains("ui://mcp+a/app"), "{shown:?}");
    assert!(
        shown[2].contains("\"ui://own\""),
        "unchanged while unique: {shown:?}"
    );
    assert_eq!(table.uri("ui://mcp+b/app"), target("b", "ui://app"));
    assert_eq!(table.uri("ui://own"), target("c", "ui://own"));

    let exposed = |server: &str, uri, mention| table.exposed_uri(&server.into(), uri, mention);
    assert_eq!(exposed("b", "x://listed", Mention::Link), None);
    assert_eq!(
        exposed("a", "x://listed", Mention::Link).unwrap(),
        "mcp+a:x%3A%2F%2Flisted"
    );
    assert_eq!(
        exposed("a", "x://listed", Mention::Content).unwrap(),
        "mcp+a:x%3A%2F%2Flisted"
    );
    assert_eq!(
        exposed("a", "x://new", Mention::Link).unwrap(),
        "mcp+a:x%3A%2F%2Fnew"
    );
    assert_eq!(exposed("a", "x://new", Mention::Content), None);
    assert_eq!(exposed("a", "https://example.com/x", Mention::Link), None);
}

/// Servers with tools, of which names were made to clash.
fn servers() -> impl Strategy<Value = Vec<(String, Vec<String>)>> {
    let clashing = prop::sample::select(vec!["a", "a__b", "b__c", "c", "_", "a_", "_b"]);
    let name = || {
        prop_oneof![
            clashing.clone().prop_map(str::to_owned),
            "[ab_]{1,4}",
            "\\PC{1,8}",
            "[a-z]{50,60}",
            "[a-z]{200}",
        ]
    };
    let tools = prop::collection::vec(name(), 0..6);
    let servers = prop::collection::btree_map(name(), tools, 1..7);
    servers.prop_map(|servers| servers.into_iter().collect())
}

/// All servers in any order, and then some of them in any order: what a restart, a server that is added and one that is
/// removed lead to.
fn before_and_after() -> impl Strategy<Value = [Vec<(String, Vec<String>)>; 2]> {
    servers().prop_flat_map(|servers| {
        let all = Just(servers.clone()).prop_shuffle();
        let number = servers.len();
        let some = prop::sample::subsequence(servers, 0..=number).prop_shuffle();
        (all, some).prop_map(|(all, some)| [all, some])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_other_name_changes_when_servers_join_or_leave_in_any_order(servers in before_and_after()) {
        let [all, fewer] = servers.map(|servers| {
            let sources = servers
                .iter()
                .map(|(server, tools)| with_tools(server, &tools.iter().map(String::as_str).collect::<Vec<_>>()));
            table(&sources.collect::<Vec<_>>())
        });
        for (target, name) in &fewer.tools.exposed {
            prop_assert_eq!(all.tools.exposed.get(target), Some(name));
        }
        let left: BTreeSet<_> = fewer.tools.exposed.keys().map(|target| &target.server).collect();
        for (name, target) in &all.tools.targets {
            prop_assert_eq!(fewer.tools.targets.contains_key(name), left.contains(&target.server));
        }
    }
}
