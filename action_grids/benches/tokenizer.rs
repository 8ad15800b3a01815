//! Time to encode and to decode one chunk; a chunk's budget outside the network is 2 ms.

use criterion::{Criterion, criterion_group, criterion_main};
use egogrid_action_grids::fit::{self, GridShape};
use egogrid_action_grids::{ActionTokenizer, NormalizedAction, TokenTable};
use std::hint::black_box;

const CHUNK_LEN: usize = 4;

fn one_chunk(criterion: &mut Criterion) {
    let shape = GridShape { translation: [16, 32, 8], rotation: [16, 16, 16] };
    let made = fit::uniform(&shape).ok().and_then(|grids| {
        let table = TokenTable::contiguous(257_153, [4096, 4096, 2], 1).ok()?;
        let tokenizer = ActionTokenizer::new(grids.translation, grids.rotation, table).ok()?;
        Some((tokenizer, NormalizedAction::new([0.3, -0.2, 0.1, 0.05, -0.4, 0.9, 1.0]).ok()?))
    });
    let Some((tokenizer, action)) = made else { return eprintln!("no tokenizer to measure") };
    let tokens: Vec<u32> = (0..CHUNK_LEN).filter_map(|_| tokenizer.encode(&action).ok()).flatten().collect();
    criterion.bench_function("encode one chunk of 4", |bencher| {
        bencher.iter(|| (0..CHUNK_LEN).for_each(|_| _ = black_box(tokenizer.encode(black_box(&action)))));
    });
    criterion.bench_function("decode one chunk of 4", |bencher| {
        bencher.iter(|| black_box(tokenizer.decode_chunk(black_box(&tokens), CHUNK_LEN)));
    });
}

criterion_group!(benches, one_chunk);
criterion_main!(benches);
