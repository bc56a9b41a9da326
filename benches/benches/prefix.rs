//! What it costs to plan the sharing, beside a model that takes milliseconds.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use similar_fast_core::prefix::{
    Attention, Found, Images, PackOptions, PrefixIndex, Tokens, pack, rope_positions,
};

const IMAGE: i64 = 99;

/// Sequences that share half of their tokens, one after another.
fn candidates(count: usize, length: usize) -> Vec<i64> {
    let id = |i: usize, at: usize| if at < length / 2 { at } else { at + i * length };
    let ids = (0..count).flat_map(|i| (0..length).map(move |at| id(i, at) as i64));
    ids.collect()
}

fn packing(criterion: &mut Criterion) {
    let (count, length) = (64, 32);
    let ids = candidates(count, length);
    let positions: Vec<i64> = (0..3 * ids.len()).map(|at| (at % length) as i64).collect();
    let tokens = Tokens {
        ids: &ids,
        keys: &[],
        positions: &positions,
    };
    let lengths = vec![length; count];
    let options = PackOptions {
        past: 1024,
        max_tokens: 512,
        attention: Attention::Causal,
    };
    let sizes = |tokens: &Tokens<'_>| -> Vec<usize> {
        let rows = pack(tokens, &lengths, options).unwrap();
        rows.iter().map(|row| row.input_ids.len()).collect()
    };
    // 16 shared tokens and 31 times 16 of their own; the last row has what is left of 64.
    assert_eq!(sizes(&tokens), [512, 512, 16 + 2 * 16]);
    let mut group = criterion.benchmark_group("prefix");
    group.throughput(Throughput::Elements(ids.len() as u64));
    group.bench_function("pack/n=64,tokens=32,past=1024", |bencher| {
        bencher.iter(|| sizes(black_box(&tokens)));
    });
    group.finish();
}

fn positions(criterion: &mut Criterion) {
    let mut ids = vec![1; 2048];
    ids[16..16 + 30 * 40].fill(IMAGE);
    let images = Images {
        token: IMAGE,
        grids: &[[1, 60, 80]],
        merge_size: 2,
    };
    let after = |ids: &[i64]| rope_positions(ids, &images, 0).unwrap().1;
    assert_eq!(after(&ids), 2048 - 30 * 40 + 40);
    let mut group = criterion.benchmark_group("prefix");
    group.throughput(Throughput::Elements(ids.len() as u64));
    group.bench_function("rope_positions/tokens=2048", |bencher| {
        bencher.iter(|| after(black_box(&ids)));
    });
    group.finish();
}

fn index(criterion: &mut Criterion) {
    let (count, length) = (256, 1024);
    let ids = candidates(count, length);
    let mut index = PrefixIndex::new(count as u64 / 2);
    for sequence in ids.chunks_exact(length) {
        index.insert(sequence, &[], 1).unwrap();
    }
    let last = &ids[ids.len() - length..];
    let whole = Found {
        entry: count as u64 - 1,
        shared: length,
    };
    assert_eq!(index.find(last, &[]), Ok(Some(whole)));
    assert_eq!(index.stats().evictions, count as u64 / 2);
    let mut group = criterion.benchmark_group("prefix");
    group.throughput(Throughput::Elements(length as u64));
    group.bench_function("find/tokens=1024,entries=128", |bencher| {
        bencher.iter(|| index.find(black_box(last), &[]));
    });
    // More sequences than have room, in turn: each is new and evicts another.
    let mut turns = ids.chunks_exact(length).cycle();
    group.bench_function("insert/tokens=1024,entries=128", |bencher| {
        bencher.iter(|| index.insert(turns.next().unwrap(), &[], 1));
    });
    group.finish();
}

criterion_group!(benches, packing, positions, index);
criterion_main!(benches);
