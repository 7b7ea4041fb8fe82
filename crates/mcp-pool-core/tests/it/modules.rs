//! The modules of the crate form layers without circles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_top_level_modules_import_each_other_in_a_circle() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let graph = imports_of(&source);
    assert!(graph.len() > 20, "{graph:#?}");
    assert!(graph["pool"].contains("router"), "{graph:#?}");
    if let Some(circle) = circle_in(&graph) {
        panic!("these modules import each other: {}", circle.join(" -> "));
    }
}

#[test]
fn a_circle_is_found_and_its_modules_are_named() {
    let graph = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")];
    let graph = graph.map(|(from, to)| (from.to_owned(), BTreeSet::from([to.to_owned()])));
    let circle = circle_in(&Graph::from(graph)).unwrap();
    assert_eq!(circle, ["b", "c", "d", "b"]);
    let imports = imports_in("use crate::{a::{self, x}, b, c::y};\nfn f() { crate::d::g() }");
    assert_eq!(imports, ["a", "b", "c", "d"]);
}

fn imports_of(source: &Path) -> Graph {
    let mut graph = Graph::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(source).unwrap();
            let module = inside.iter().next().unwrap().to_str().unwrap();
            let module = module.trim_end_matches(".rs").to_owned();
            let name = inside.file_stem().unwrap().to_str().unwrap();
            if module != "lib" && !["tests", "model", "cost"].contains(&name) {
                let imports = imports_in(&fs::read_to_string(&path).unwrap());
                let others = imports.into_iter().filter(|import| *import != module);
                graph.entry(module.clone()).or_default().extend(others);
            }
        }
    }
    let modules: BTreeSet<_> = graph.keys().cloned().collect();
    for imports in graph.values_mut() {
        imports.retain(|import| modules.contains(import));
    }
    graph
}

/// The first name after each `crate::`, and of each part of a `crate::{..}`, outside of comments and tests.
fn imports_in(text: &str) -> Vec<String> {
    let code = text.split("\nmod tests {").next().unwrap_or_default();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut imports = Vec::new();
    for (_, rest) in code
        .match_indices("crate::")
        .map(|(at, found)| (at, &code[at + found.len()..]))
    {
        match rest.strip_prefix('{') {
            None => imports.push(identifier(rest)),
            Some(group) => {
                let (mut depth, mut start) = (0, 0);
                for (at, letter) in group.char_indices() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            imports.push(identifier(&group[start..at]));
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            imports.push(identifier(&group[start..at]));
                            start = at + 1;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    imports.retain(|import| !import.is_empty());
    imports
}

fn identifier(text: &str) -> String {
    let letters = text.trim_start().chars();
    letters
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

/// Modules each of which imports the next, where the last is the first.
fn circle_in(graph: &Graph) -> Option<Vec<String>> {
    fn visit(
        graph: &Graph,
        module: &str,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(at) = path.iter().position(|on_path| on_path == module) {
            let circle = path[at..].iter().cloned();
            return Some(circle.chain([module.to_owned()]).collect());
        }
        if !done.contains(module) {
            path.push(module.to_owned());
            for import in graph.get(module).into_iter().flatten() {
                if let Some(circle) = visit(graph, import, path, done) {
                    return Some(circle);
                }
            }
            path.pop();
            done.insert(module.to_owned());
        }
        None
    }
    let mut done = BTreeSet::new();
    graph
        .keys()
        .find_map(|module| visit(graph, module, &mut Vec::new(), &mut done))
}
