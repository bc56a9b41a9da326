//! The golden trees of `tests/golden`: written by the plain-Python reference, grown here again.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use similar_fast_core::search::{
    Backup, CandidateColumns, Candidates, Channels, Config, EdgeState, Fpu, Gumbel, Leaves,
    Normalize, Policy, Told, TreeSearch,
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

fn whole(value: &Value) -> u32 {
    value.as_u64().unwrap() as u32
}

fn path(value: &Value) -> ActionPath {
    let actions = value.as_array().unwrap().iter();
    actions.map(|action| action.as_u64().unwrap()).collect()
}

fn policy(given: &Value) -> Policy {
    let c = number(&given["c_puct"]);
    match given["policy"].as_str().unwrap() {
        "puct" => Policy::Puct { c },
        "uct" => Policy::Uct { c },
        "gumbel" => Policy::Gumbel(Gumbel {
            c_visit: number(&given["c_visit"]),
            c_scale: number(&given["c_scale"]),
            max_considered: whole(&given["max_considered"]),
            num_simulations: whole(&given["num_simulations"]),
        }),
        "best_first" => Policy::BestFirst,
        "beam" => Policy::Beam {
            width: whole(&given["beam_width"]),
        },
        other => panic!("no policy {other}"),
    }
}

fn backup(given: &Value) -> Backup {
    match given["backup"].as_str().unwrap() {
        "mean" => Backup::Mean,
        "max" => Backup::Max,
        "power_mean" => Backup::PowerMean {
            exponent: number(&given["exponent"]),
        },
        "discounted" => Backup::Discounted {
            discount: number(&given["discount"]),
        },
        other => panic!("no backup {other}"),
    }
}

fn channels(given: &Value) -> Channels {
    let count = whole(&given["channels"]) as usize;
    match numbers(&given["weights"]) {
        Some(weights) => Channels::weighted(&weights).unwrap(),
        None if count > 0 => Channels::gated(count).unwrap(),
        None => Channels::NONE,
    }
}

fn config(given: &Value) -> Config {
    Config {
        policy: policy(given),
        backup: backup(given),
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
        max_depth: whole(&given["max_depth"]),
        virtual_loss: whole(&given["virtual_loss"]),
        max_collisions: given["max_collisions"].as_u64().map(|most| most as u32),
        channels: channels(given),
        solve: given["solve"].as_bool().unwrap(),
        deterministic: given["deterministic"].as_bool().unwrap(),
        max_nbytes: given["max_nbytes"].as_u64().map(|bytes| bytes as usize),
    }
}

fn with_candidates<T>(row: &Value, then: impl FnOnce(Candidates<'_>) -> T) -> T {
    let column = |name: &str| numbers(&row[name]);
    let (priors, first_values) = (column("priors"), column("first_values"));
    let first_weights = column("first_weights");
    then(Candidates {
        count: whole(&row["candidates"]) as usize,
        priors: priors.as_deref(),
        first_values: first_values.as_deref(),
        first_weights: first_weights.as_deref(),
        key: row["key"].as_u64().unwrap(),
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

/// The columns of several rows, one after another; absent where no row has any.
fn joined(rows: &[Value], name: &str) -> Option<Vec<f32>> {
    let mut given = rows.iter().filter_map(|row| numbers(&row[name])).peekable();
    given.peek()?;
    Some(given.flatten().collect())
}

/// A search, and which leaf hangs where.
struct Replay {
    search: TreeSearch,
    ids: HashMap<ActionPath, u64>,
}

impl Replay {
    fn step(&mut self, step: &Value) {
        if let Some(asked) = step.get("ask") {
            let leaves = self.search.ask(whole(asked)).unwrap();
            self.compare(&leaves, step);
        } else if let Some(node) = step.get("edge") {
            let (node, action) = (self.node(&path(node)), whole(&step["action"]));
            let leaves = self.search.ask_edge(node, action).unwrap();
            self.compare(&leaves, step);
        } else if let Some(rows) = step.get("tell") {
            self.tell(rows.as_array().unwrap());
        } else if let Some(paths) = step.get("fail") {
            let paths = paths.as_array().unwrap().iter();
            let ids = paths.map(|way| self.ids.remove(&path(way)).unwrap());
            let ids: Vec<u64> = ids.collect();
            self.search.fail(&ids).unwrap();
        } else if let Some(simulations) = step.get("plan") {
            let noise = numbers(&step["noise"]);
            self.search
                .plan(noise.as_deref(), whole(simulations))
                .unwrap();
        } else if let Some(weights) = step.get("reweight") {
            self.search.reweight(numbers(weights).as_deref()).unwrap();
        } else {
            self.advance(step);
        }
    }

    fn compare(&mut self, leaves: &Leaves, step: &Value) {
        let mut found = Vec::new();
        for row in 0..leaves.ids.len() {
            let mut way = self.path_of(leaves.parents[row]);
            way.push(u64::from(leaves.actions[row]));
            self.ids.insert(way.clone(), leaves.ids[row]);
            let wants = leaves.wants_candidates[row];
            let kind = if wants { "expand" } else { "evaluate" };
            found.push(json!({
                "path": way, "kind": kind, "multiplicity": leaves.multiplicities[row],
            }));
        }
        assert_eq!(Value::from(found), step["leaves"]);
        assert_eq!(u64::from(leaves.num_completed), step["num_completed"]);
    }

    fn tell(&mut self, rows: &[Value]) {
        let ids: Vec<u64> = rows
            .iter()
            .map(|row| self.ids.remove(&path(&row["path"])).unwrap())
            .collect();
        let values = joined(rows, "numbers");
        let alone: Vec<f32> = rows.iter().map(|row| number(&row["value"])).collect();
        let terminal = rows.iter().map(|row| row["terminal"].as_bool().unwrap());
        let terminal: Vec<bool> = terminal.collect();
        let counts = rows.iter().map(|row| row["candidates"].as_i64());
        let counts: Vec<i32> = counts.map(|count| count.unwrap_or(-1) as i32).collect();
        let keys: Vec<u64> = rows
            .iter()
            .map(|row| row["key"].as_u64().unwrap())
            .collect();
        let (priors, weights) = (joined(rows, "priors"), joined(rows, "weights"));
        let first_values = joined(rows, "first_values");
        let first_weights = joined(rows, "first_weights");
        let candidates = CandidateColumns {
            counts: Some(&counts),
            priors: priors.as_deref(),
            first_values: first_values.as_deref(),
            first_weights: first_weights.as_deref(),
            keys: Some(&keys),
        };
        let told = Told {
            ids: &ids,
            values: values.as_deref().unwrap_or(&alone),
            weights: weights.as_deref(),
            terminal: Some(&terminal),
            candidates,
        };
        self.search.tell(told).unwrap();
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

    fn node(&self, way: &[u64]) -> u32 {
        way.iter().fold(self.search.root(), |node, &action| {
            self.search.edges(node).unwrap().children[action as usize].unwrap()
        })
    }

    /// Every node with its edges, in the order of the paths.
    fn table(&self) -> Vec<(ActionPath, Vec<Value>)> {
        let mut table: Vec<_> = self
            .search
            .nodes()
            .map(|node| (self.path_of(node), self.rows(node)))
            .collect();
        table.sort_by(|a, b| a.0.cmp(&b.0));
        table
    }

    fn rows(&self, node: u32) -> Vec<Value> {
        let edges = self.search.edges(node).unwrap();
        let rows = (0..edges.visits.len()).map(|row| {
            let is_merged = edges.states[row] == EdgeState::Merged;
            let merged = edges.children[row].filter(|_| is_merged);
            json!([
                edges.visits[row],
                edges.in_flight[row],
                (edges.values[row] + 0.0).to_bits(), // one zero only
                edges.priors[row].to_bits(),
                name(edges.states[row]),
                edges.solved[row],
                merged.map(|child| self.path_of(child)),
            ])
        });
        rows.collect()
    }
}

fn grows(case: &str) {
    let golden = load(case);
    let config = config(&golden["config"]);
    let search = with_candidates(&golden["root"], |root| TreeSearch::new(config, root)).unwrap();
    let ids = HashMap::new();
    let mut replay = Replay { search, ids };

    for step in golden["steps"].as_array().unwrap() {
        replay.step(step);
    }

    let nodes = golden["nodes"].as_array().unwrap().iter();
    let expected = nodes.map(|node| {
        (
            path(&node["path"]),
            node["edges"].as_array().unwrap().clone(),
        )
    });
    assert_eq!(replay.table(), expected.collect::<Vec<_>>());
    assert_eq!(replay.search.best_action(), whole(&golden["best_action"]));
}

/// One test for each case, named after it.
macro_rules! golden {
    ($($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                grows(stringify!($case));
            }
        )*

        #[test]
        fn every_file_is_read() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
            let files = std::fs::read_dir(folder).unwrap().count();
            assert_eq!(files, [$(stringify!($case)),*].len());
        }
    };
}

golden! {
    advance_and_fail
    beam_levels
    best_first_edges
    channels_reweighted
    discounted_solved
    gate_deterministic_memory
    gumbel_plans
    power_mean_merged
    puct_eager_max_range
    puct_lazy
    puct_virtual_loss_collisions
    uct_depth_limit
    wide_nodes
}
