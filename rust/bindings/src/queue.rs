//! `Batcher` and `Call`: ids and sizes in, batches of ids out, and a place to wait.
//!
//! A request of Python is a number and its rows are numbered from 0. In the core's queue row `i` of
//! request `r` is the entry `r * 2^32 + i`.

#![allow(clippy::needless_pass_by_value)] // arguments from Python arrive owned

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use similar_fast_core::batcher::{Batcher, Call, Next};
use similar_fast_core::queue::{Entry, Histogram, Limits};

use crate::error::CoreError;

/// A wait ends this often to look for signals, so that Ctrl-C reaches who waits.
const SIGNAL: Duration = Duration::from_millis(50);
const ROW_BITS: u32 = 32;

/// (request, first row, rows) of each run of a batch; (row of the batch, request, row) of each
/// rider; (request, row) of each expired entry.
type Taken = (Vec<(u64, u32, u32)>, Vec<(u32, u64, u32)>, Vec<(u64, u32)>);

/// What one thread waits for and another finishes.
#[pyclass(frozen, module = "similar_fast._core", name = "Call")]
struct PyCall(Arc<Call>);

#[pymethods]
impl PyCall {
    #[new]
    fn new() -> Self {
        Self(Arc::new(Call::new()))
    }

    /// Waits for the end of the call; whether it came in time. Signals are handled meanwhile.
    #[pyo3(signature = (timeout_s=None))]
    fn wait(&self, py: Python<'_>, timeout_s: Option<f64>) -> PyResult<bool> {
        let mut left = timeout_s.map_or(Ok(Duration::MAX), |s| seconds("timeout_s", s))?;
        loop {
            let slice = left.min(SIGNAL);
            if py.detach(|| self.0.wait(slice)) {
                return Ok(true);
            }
            py.check_signals()?;
            left -= slice;
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Ends the call; wakes who waits for it.
    fn finish(&self) {
        self.0.finish();
    }
}

/// The rows of a request that are pushed together: request, first row, rows, priority, deadline in
/// seconds from now; and where they matter the tokens, the pixels and the key of each row.
type Rows = (
    u32,
    u32,
    u32,
    i8,
    Option<f64>,
    Option<Vec<u32>>,
    Option<Vec<u32>>,
    Option<Vec<u64>>,
);

/// A batching queue; any number of threads push, one takes turns. Seconds in, ids out.
#[pyclass(frozen, module = "similar_fast._core", name = "Batcher")]
struct PyBatcher(Batcher);

#[pymethods]
impl PyBatcher {
    #[new]
    #[pyo3(signature = (
        max_batch_size,
        max_batch_tokens,
        max_wait_s,
        capacity,
        max_batch_pixels=None,
        is_padded=false,
        bucket_edges=vec![],
        priority_step_s=0.1,
    ))]
    #[allow(clippy::too_many_arguments)] // one place, keywords on the other side
    fn new(
        max_batch_size: usize,
        max_batch_tokens: Option<u64>,
        max_wait_s: f64,
        capacity: usize,
        max_batch_pixels: Option<u64>,
        is_padded: bool,
        bucket_edges: Vec<u32>,
        priority_step_s: f64,
    ) -> PyResult<Self> {
        let limits = Limits {
            max_batch_size,
            max_batch_tokens,
            max_batch_pixels,
            is_padded,
            bucket_edges,
            max_wait: seconds("max_wait_s", max_wait_s)?,
            priority_step: seconds("priority_step_s", priority_step_s)?,
            capacity,
        };
        Ok(Self(Batcher::new(limits).map_err(CoreError::from)?))
    }

    /// Pushes all rows without waiting, or none. Where `takes_turn`, and a batch is ready and
    /// nobody's turn is open, returns what is ready, and the turn is the caller's.
    //
    // The lock is held for a moment only and nobody waits for the interpreter under it, so the
    // short calls keep the interpreter: to let it go and take it back costs more than they do.
    fn push(&self, rows: Rows, takes_turn: bool) -> PyResult<Option<Taken>> {
        let entries = self.entries(rows)?;
        if !takes_turn {
            self.0.push(&entries).map_err(CoreError::from)?;
            return Ok(None);
        }
        let next = self.0.push_and_take_turn(&entries);
        Ok(match next.map_err(CoreError::from)? {
            Next::Nothing => None,
            next => taken(next),
        })
    }

    /// Pushes rows as room comes free, until all are pushed, `timeout_s` is over, or the call is
    /// finished; returns how many these were.
    fn push_some(
        &self,
        py: Python<'_>,
        rows: Rows,
        timeout_s: f64,
        call: &PyCall,
    ) -> PyResult<usize> {
        let mut entries = self.entries(rows)?;
        let timeout = seconds("timeout_s", timeout_s)?;
        py.detach(|| {
            let end = self.0.now().saturating_add(timeout);
            let mut pushed = 0;
            while !entries.is_empty() && !call.0.is_finished() {
                let left = end.saturating_sub(self.0.now());
                match self.0.push_some(&entries, left) {
                    Ok(some) => {
                        drop_first(&mut entries, some);
                        pushed += some;
                    }
                    Err(similar_fast_core::Error::QueueFull { .. }) => break,
                    Err(error) => return Err(CoreError::from(error).into()),
                }
            }
            Ok(pushed)
        })
    }

    /// Begins a turn: its rows, riders and expired rows; all are empty at the timeout, and it is
    /// None once closed and drained.
    #[pyo3(signature = (timeout_s=None))]
    fn take_turn(&self, py: Python<'_>, timeout_s: Option<f64>) -> PyResult<Option<Taken>> {
        let timeout = timeout_s.map(|s| seconds("timeout_s", s)).transpose()?;
        Ok(self.wait_for_turn(py, timeout, vec![]))
    }

    /// Ends the turn, finishes `done`, and begins the next turn.
    fn next_turn(&self, py: Python<'_>, done: Vec<Py<PyCall>>) -> Option<Taken> {
        self.0.end_turn();
        self.wait_for_turn(py, None, done)
    }

    /// Ends the turn, and finishes `done`.
    fn end_turn(&self, done: Vec<Py<PyCall>>) {
        self.0.end_turn();
        Call::finish_all(calls(&done));
    }

    /// Removes what still waits of the first `count` rows of a request; returns how many these are.
    fn cancel(&self, py: Python<'_>, request: u32, count: u32) -> usize {
        let first = u64::from(request) << ROW_BITS;
        let ids: Vec<u64> = (first..first + u64::from(count)).collect();
        py.detach(|| self.0.cancel(&ids))
    }

    /// Refuses later pushes; what waits is handed out at once.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }

    /// (cancelled, expired, coalesced), and the bars of queue length, wait and batch size.
    fn stats(&self) -> ((u64, u64, u64), [[u64; Histogram::BARS]; 3]) {
        let stats = self.0.stats();
        let bars = [stats.queue_length, stats.wait_us, stats.batch_size].map(|h| h.bars);
        ((stats.cancelled, stats.expired, stats.coalesced), bars)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

impl PyBatcher {
    fn wait_for_turn(
        &self,
        py: Python<'_>,
        timeout: Option<Duration>,
        done: Vec<Py<PyCall>>,
    ) -> Option<Taken> {
        let take = || self.0.take_turn(Some(Duration::ZERO));
        // With nobody to wake, a batch that is ready is run without letting the interpreter go.
        let mut next = if done.is_empty() {
            take()
        } else {
            Next::Nothing
        };
        let mut calls = calls(&done);
        let mut is_over = false;
        while next == Next::Nothing && !is_over {
            py.detach(|| {
                Call::finish_all(std::mem::take(&mut calls));
                self.0.await_turn(timeout);
            });
            // A batch is taken with the interpreter in hand, and grows until then.
            next = take();
            is_over = timeout.is_some();
        }
        taken(next)
    }

    fn entries(&self, rows: Rows) -> PyResult<Vec<Entry>> {
        let (request, start, count, priority, deadline_s, tokens, pixels, keys) = rows;
        let deadline = deadline_s
            .map(|s| seconds("deadline_s", s))
            .transpose()?
            .map(|deadline| self.0.now().saturating_add(deadline));
        let whole = Entry {
            id: u64::from(request) << ROW_BITS | u64::from(start),
            count,
            priority,
            deadline,
            ..Entry::default()
        };
        if tokens.is_none() && pixels.is_none() && keys.is_none() {
            return Ok(vec![whole]);
        }
        let tokens = column("tokens", tokens.as_ref(), count)?;
        let pixels = column("pixels", pixels.as_ref(), count)?;
        let keys = column("keys", keys.as_ref(), count)?;
        let entries = (0..count as usize).map(|row| Entry {
            id: whole.id + row as u64,
            count: 1,
            tokens: tokens.map_or(0, |tokens| tokens[row]),
            pixels: pixels.map_or(0, |pixels| pixels[row]),
            key: keys.map(|keys| u128::from(keys[row])),
            ..whole
        });
        Ok(entries.collect())
    }
}

fn calls(done: &[Py<PyCall>]) -> Vec<Arc<Call>> {
    done.iter().map(|call| Arc::clone(&call.get().0)).collect()
}

fn column<'a, T>(
    name: &str,
    column: Option<&'a Vec<T>>,
    count: u32,
) -> PyResult<Option<&'a Vec<T>>> {
    match column {
        Some(column) if column.len() != count as usize => Err(PyValueError::new_err(format!(
            "{name} must hold one number a row, got {} for {count} rows",
            column.len()
        ))),
        column => Ok(column),
    }
}

/// Takes the first `count` off, runs counted entry by entry.
fn drop_first(entries: &mut Vec<Entry>, mut count: usize) {
    let whole = entries.iter().take_while(|entry| {
        let is_gone = entry.count as usize <= count;
        count -= if is_gone { entry.count as usize } else { 0 };
        is_gone
    });
    let gone = whole.count();
    entries.drain(..gone);
    if let Some(entry) = entries.first_mut() {
        entry.id += count as u64;
        entry.count -= count as u32;
    }
}

/// None once closed.
fn taken(next: Next) -> Option<Taken> {
    let (mut rows, mut riders, mut expired) = Taken::default();
    match next {
        Next::Batch(batch) => {
            for run in &batch.runs {
                // No request has all of the 2^32 rows that would let a run reach into the next.
                let (request, row) = place(run.first);
                rows.push((request, row, run.count));
            }
            for rider in &batch.riders {
                let (request, row) = place(rider.id);
                riders.push((rider.row, request, row));
            }
        }
        Next::Expired(ids) => expired.extend(ids.into_iter().map(place)),
        Next::Nothing => {}
        Next::Closed => return None,
    }
    Some((rows, riders, expired))
}

fn place(id: u64) -> (u64, u32) {
    (id >> ROW_BITS, id as u32)
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| {
        PyValueError::new_err(format!(
            "{name} must be finite seconds, at least 0, got {value}"
        ))
    })
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCall>()?;
    module.add_class::<PyBatcher>()
}
