//! A session of a few bytes, to prove that a provider starts and computes: `y = x @ x` for `x` of `[2, 2]`.
//!
//! `probe.onnx` is one MatMul, opset 17, IR 8, made with `onnx.helper`: input `x` and output `y`, `f32[2, 2]`, graph `probe`.

use super::environment::Environment;
use super::error::ExecutionError;
use super::graph::Graph;
use super::options::GraphOptions;

const MODEL: &[u8] = include_bytes!("probe.onnx");
/// Keeps what a provider compiles for it apart from real models.
const NAME: &str = "probe";

/// Starts the provider of `options`, multiplies two small matrices and looks at the result.
///
/// # Errors
/// Whatever keeps the provider from starting, and a result that is wrong.
pub fn probe(environment: &Environment, options: &GraphOptions) -> Result<(), ExecutionError> {
    let mut graph = Graph::load_bytes(environment, NAME, MODEL, &options.for_model(NAME))?;
    computes(&mut graph, options)
}

fn computes(graph: &mut Graph, options: &GraphOptions) -> Result<(), ExecutionError> {
    graph.allocate_input("x", 0)?;
    graph.allocate_output("y")?;
    // Twice with other numbers: a run that is replayed must read what is new.
    for (x, expected) in
        [([1.0f32, 2.0, 3.0, 4.0], [7.0f32, 10.0, 15.0, 22.0]), ([2.0, 0.0, 0.0, 2.0], [4.0, 0.0, 0.0, 4.0])]
    {
        graph.input_mut("x")?.copy_from_slice(&x);
        graph.run()?;
        let found = graph.output::<f32>("y")?;
        if found != expected {
            return Err(ExecutionError::Provider {
                provider: options.provider.to_string(),
                detail: format!("the product of {x:?} with itself is {found:?}, expected {expected:?}"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::graph::Side;
    use super::*;
    use std::path::{Path, PathBuf};

    fn environment() -> Environment {
        let placed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../third_party/onnxruntime/libonnxruntime.so");
        let library = std::env::var_os("EGOGRID_ORT_LIB").map_or(placed, PathBuf::from);
        Environment::load(&library).unwrap()
    }

    #[test]
    fn the_probe_computes_on_the_processor() {
        probe(&environment(), &GraphOptions::default()).unwrap();
    }

    /// On a device; here the device's memory is the host's.
    #[test]
    fn a_replayed_run_reads_new_inputs_at_the_recorded_addresses() {
        let options = GraphOptions::default();
        let mut graph = Graph::load_bytes(&environment(), NAME, MODEL, &options).unwrap();
        graph.stage_everything();
        computes(&mut graph, &options).unwrap();
    }

    #[test]
    fn runs_on_two_sides_keep_their_tensors_apart() {
        let mut graph = Graph::load_bytes(&environment(), NAME, MODEL, &GraphOptions::default()).unwrap();
        let mut tensors = [graph.tensor_like("y").unwrap(), graph.tensor_like("y").unwrap()];
        graph.allocate_input("x", 0).unwrap();
        for (side, tensor) in [Side::First, Side::Second].into_iter().zip(&mut tensors) {
            graph.bind_output_on(side, "y", tensor).unwrap();
        }
        for (side, scale) in [(Side::First, 1.0f32), (Side::Second, 3.0)] {
            graph.input_mut("x").unwrap().copy_from_slice(&[scale, 0.0, 0.0, scale]);
            graph.run_on(side).unwrap();
        }
        assert_eq!(tensors[0].to_host().unwrap(), [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(tensors[1].to_host().unwrap(), [9.0, 0.0, 0.0, 9.0]);
        assert_eq!((Side::First.other(), Side::Second.other()), (Side::Second, Side::First));
    }
}
