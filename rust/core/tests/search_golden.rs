//! The golden trees of `tests/golden`: written by the plain-Python reference, grown here again.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use similar_fast_core::search::{
    Backup, CandidateColumns, Candidates, Config, EdgeState, Fpu, Normalize, Policy, Told,
    TreeSearch,
};

type ActionPath = Vec<u64>;

fn load(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

fn numbers(value: &Value) -> Option<Vec<f32>> {
    Some(value.as_array()?.iter().map(number).collect())
}

fn path(value: &Value) -> ActionPath {
    let actions = value.as_array().unwrap().iter();
    actions.map(|action| action.as_u64().unwrap()).collect()
}

fn config(given: &Value) -> Config {
    let c = number(&given["c_puct"]);
    Config {
        policy: match given["policy"].as_str().unwrap() {
            "puct" => Policy::Puct { c },
            _ => Policy::Uct { c },
        },
        backup: match given["backup"].as_str().unwrap() {
            "mean" => Backup::Mean,
            _ => Backup::Max,
        },
        fpu: match &given["fpu"] {
            Value::String(_) => Fpu::Parent,
            value => Fpu::Value(number(value)),
        },
        normalize: match &given["normalize"] {
            Value::Null => Normalize::None,
            Value::String(_) => Normalize::MinMax,
            range => Normalize::Range {
                low: number(&range[0]),
                high: number(&range[1]),
            },
        },
        max_depth: given["max_depth"].as_u64().unwrap() as u32,
        max_collisions: None,
        ..Config::default()
    }
}

fn with_candidates<T>(row: &Value, then: impl FnOnce(Candidates<'_>) -> T) -> T {
    let (priors, first_values) = (numbers(&row["priors"]), numbers(&row["first_values"]));
    then(Candidates {
        count: row["candidates"].as_u64().unwrap() as usize,
        priors: priors.as_deref(),
        first_values: first_values.as_deref(),
        ..Candidates::default()
    })
}

fn name(state: EdgeState) -> &'static str {
    match state {
        EdgeState::Fresh => "fresh",
        EdgeState::Evaluating => "evaluating",
        EdgeState::Evaluated => "evaluated",
        EdgeState::Expanding => "expanding",
        EdgeState::Expanded => "expanded",
        EdgeState::Terminal => "terminal",
        EdgeState::DepthLimit => "depth_limit",
        EdgeState::Merged => "merged",
    }
}

/// A search, and which leaf hangs where.
struct Replay {
    search: TreeSearch,
    ids: HashMap<ActionPath, u64>,
}

impl Replay {
    fn ask(&mut self, step: &Value) {
        let asked = step["ask"].as_u64().unwrap() as u32;
        let leaves = self.search.ask(asked).unwrap();

        let mut found = Vec::new();
        for row in 0..leaves.ids.len() {
            let mut way = self.path_of(leaves.parents[row]);
            way.push(u64::from(leaves.actions[row]));
            self.ids.insert(way.clone(), leaves.ids[row]);
            let wants = leaves.wants_candidates[row];
            let kind = if wants { "expand" } else { "evaluate" };
            found.push((way, kind, u64::from(leaves.multiplicities[row])));
        }
        found.sort();
        let expected = step["leaves"].as_array().unwrap().iter().map(|leaf| {
            let kind = leaf["kind"].as_str().unwrap();
            let visits = leaf["multiplicity"].as_u64().unwrap();
            (path(&leaf["path"]), kind, visits)
        });
        assert_eq!(found, expected.collect::<Vec<_>>());
        assert_eq!(u64::from(leaves.num_completed), step["num_completed"]);
    }

    fn tell(&mut self, rows: &[Value]) {
        let mut ids = Vec::new();
        let (mut values, mut terminal, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut priors, mut first_values) = (Vec::new(), Vec::new());
        for row in rows {
            ids.push(self.ids.remove(&path(&row["path"])).unwrap());
            values.push(number(&row["value"]));
            terminal.push(row["terminal"].as_bool().unwrap());
            counts.push(row["candidates"].as_i64().unwrap_or(-1) as i32);
            priors.extend(numbers(&row["priors"]).unwrap_or_default());
            first_values.extend(numbers(&row["first_values"]).unwrap_or_default());
        }
        let candidates = CandidateColumns {
            counts: Some(&counts),
            priors: Some(&priors),
            first_values: Some(&first_values),
            ..CandidateColumns::default()
        };
        let told = Told {
            ids: &ids,
            values: &values,
            terminal: Some(&terminal),
            candidates,
            ..Told::default()
        };
        self.search.tell(told).unwrap();
    }

    fn fail(&mut self, paths: &[Value]) {
        let ids = paths.iter().map(|way| self.ids.remove(&path(way)).unwrap());
        self.search.fail(&ids.collect::<Vec<_>>()).unwrap();
    }

    fn advance(&mut self, step: &Value) {
        let action = step["advance"].as_u64().unwrap();
        if step["row"].is_null() {
            self.search.advance(action as u32, None).unwrap();
        } else {
            let row = &step["row"];
            with_candidates(row, |given| self.search.advance(action as u32, Some(given))).unwrap();
            self.ids.clear();
        }
        let ids = std::mem::take(&mut self.ids).into_iter();
        let kept = ids.filter(|(way, _)| way.len() > 1 && way[0] == action);
        self.ids = kept.map(|(way, id)| (way[1..].to_vec(), id)).collect();
    }

    fn path_of(&self, node: u32) -> ActionPath {
        let (_, actions) = self.search.path(node).unwrap();
        actions.into_iter().map(u64::from).collect()
    }

    /// Every node with its edges, in the order of the paths.
    fn table(&self) -> Vec<(ActionPath, Vec<Value>)> {
        let mut table = Vec::new();
        for node in self.search.nodes() {
            let edges = self.search.edges(node).unwrap();
            let rows = (0..edges.visits.len()).map(|row| {
                serde_json::json!([
                    edges.visits[row],
                    edges.in_flight[row],
                    edges.values[row].to_bits(),
                    edges.priors[row].to_bits(),
                    name(edges.states[row]),
                ])
            });
            table.push((self.path_of(node), rows.collect()));
        }
        table.sort_by(|a, b| a.0.cmp(&b.0));
        table
    }
}

fn grows(case: &str) {
    let golden = load(case);
    let config = config(&golden["config"]);
    let search = with_candidates(&golden["root"], |root| TreeSearch::new(config, root)).unwrap();
    let ids = HashMap::new();
    let mut replay = Replay { search, ids };

    for step in golden["steps"].as_array().unwrap() {
        if step.get("ask").is_some() {
            replay.ask(step);
        } else if let Some(rows) = step.get("tell") {
            replay.tell(rows.as_array().unwrap());
        } else if let Some(paths) = step.get("fail") {
            replay.fail(paths.as_array().unwrap());
        } else {
            replay.advance(step);
        }
    }

    let nodes = golden["nodes"].as_array().unwrap().iter();
    let expected = nodes.map(|node| {
        (
            path(&node["path"]),
            node["edges"].as_array().unwrap().clone(),
        )
    });
    assert_eq!(replay.table(), expected.collect::<Vec<_>>());
}

#[test]
fn puct_lazy_grows_the_golden_tree() {
    grows("puct_lazy");
}

#[test]
fn puct_eager_max_range_grows_the_golden_tree() {
    grows("puct_eager_max_range");
}

#[test]
fn uct_depth_limit_grows_the_golden_tree() {
    grows("uct_depth_limit");
}

#[test]
fn wide_nodes_grow_the_golden_tree() {
    grows("wide_nodes");
}

#[test]
fn advance_and_fail_grow_the_golden_tree() {
    grows("advance_and_fail");
}
