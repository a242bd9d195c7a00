//! What both stages of training share: schedule, optimiser, checkpoints, log.

use crate::TrainError;
use crate::error::at;
use crate::recipe::Stage;
use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Module, ParamGroup};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamWConfig, AdjustLrFn, GradientsAccumulator, GradientsParams, ModuleOptimizer, MuonConfig};
use burn::tensor::{Device, Tensor, TensorData};
use cloister_model::{CodeGen, CodeGenBuilder, CodeGenConfig, ModelBuilder, named_tensors};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Learning rate at a step: in each cycle a linear rise, then half a cosine down to a twentieth of the peak.
pub fn learning_rate(stage: &Stage, step: usize) -> f64 {
    let mut step = step;
    let mut length = 0;
    for (index, cycle) in stage.cycles.iter().enumerate() {
        length = *cycle;
        if step < length || index + 1 == stage.cycles.len() {
            break;
        }
        step -= length;
    }
    if step < stage.warmup {
        return stage.learning_rate * (step + 1) as f64 / stage.warmup as f64;
    }
    let progress = (step - stage.warmup) as f64 / (length.saturating_sub(stage.warmup)).max(1) as f64;
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos());
    stage.learning_rate * (0.05 + 0.95 * cosine)
}

/// The matrices inside the blocks: what Muon is for.
const BLOCK_MATRICES: [&str; 4] = ["qkv_proj.weight", "out_proj.weight", "fc_in.weight", "fc_out.weight"];

/// Muon (Jordan et al., 2024) for the matrices inside the blocks, with updates scaled to AdamW's size so that both take
/// one learning rate (Liu et al., 2025); AdamW for embedding, head, pointer, norms and biases.
fn new_optimizer(stage: &Stage) -> ModuleOptimizer {
    let adam = AdamWConfig::new()
        .with_beta_2(0.95)
        .with_weight_decay(stage.weight_decay)
        .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)));
    let muon = MuonConfig::new()
        .with_weight_decay(Some(WeightDecayConfig::new(stage.weight_decay)))
        .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW);
    adam.init().with_group(block_matrices(), muon.build(), None)
}

fn block_matrices() -> ParamGroup {
    ParamGroup::from_any_predicates(BLOCK_MATRICES.to_vec())
}

/// A model in training with its optimiser, its checkpoints and its log.
pub struct Trainer {
    /// The model, on a device with autodiff.
    pub model: CodeGen,
    optimizer: ModuleOptimizer,
    stage: Stage,
    step: usize,
    folder: PathBuf,
    log: File,
    started: Instant,
    window: (f64, usize, usize, Instant),
}

impl Trainer {
    /// Starts a stage in `folder`, or goes on where its last checkpoint left off.
    ///
    /// # Errors
    /// [`TrainError`] where the folder or a checkpoint cannot be used.
    pub fn start(folder: &Path, stage: &Stage, initial: CodeGen) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        let mut trainer = Self {
            model: initial,
            optimizer: new_optimizer(stage),
            stage: stage.clone(),
            step: 0,
            folder: folder.to_path_buf(),
            log: open_log(&folder.join("log.csv"))?,
            started: Instant::now(),
            window: (0.0, 0, 0, Instant::now()),
        };
        trainer.resume()?;
        Ok(trainer)
    }

    /// The next step's number; `None` when the stage is done.
    pub fn next_step(&self) -> Option<usize> {
        (self.step < self.stage.steps()).then_some(self.step)
    }

    /// One step of the optimiser over so many tokens; logs and saves as it is due.
    ///
    /// `parts` are shares of the batch that sum to 1, each with what computes its loss `[1]`. Each runs on a thread of its
    /// own: most elementwise operations of the CPU backend are serial, so this is what keeps the cores busy.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where the loss is not finite, else what the loss or the files say.
    pub fn apply<F>(&mut self, parts: Vec<(f64, F)>, tokens: usize) -> Result<(), TrainError>
    where
        F: FnOnce(&CodeGen) -> Result<Tensor<1>, TrainError> + Send,
    {
        let model = &self.model;
        let device = model.wte.val().device();
        let results: Vec<Result<(f64, GradientsParams), TrainError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = parts
                .into_iter()
                .map(|(share, part)| {
                    // An own set of leaves: graphs that share one are merged, and each can be walked only once.
                    let model = model.clone().fork(&device);
                    scope.spawn(move || {
                        let loss = part(&model)? * share;
                        let value = f64::from(loss.clone().into_scalar::<f32>());
                        Ok((value, GradientsParams::from_grads(loss.backward(), &model)))
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let mut value = 0.0;
        let mut sum = GradientsAccumulator::new();
        for result in results {
            let (part, gradients) = result?;
            value += part;
            sum.accumulate(&self.model, gradients);
        }
        if !value.is_finite() {
            return Err(TrainError::Diverged(self.step));
        }
        let rate = learning_rate(&self.stage, self.step);
        let gradients = sum.grads();
        self.model = self.optimizer.step(rate, self.model.clone(), gradients);
        self.step += 1;
        self.window.0 += value;
        self.window.1 += 1;
        self.window.2 += tokens;
        if self.step.is_multiple_of(20) || self.step == self.stage.steps() {
            self.write_log(rate)?;
        }
        if self.step.is_multiple_of(self.stage.checkpoint_every) || self.stage.ends().contains(&self.step) {
            self.save()?;
        }
        Ok(())
    }

    /// Adds a figure of a validation pass to the log.
    ///
    /// # Errors
    /// [`TrainError::File`] where the log cannot be written.
    pub fn note(&mut self, text: &str) -> Result<(), TrainError> {
        eprintln!("{} step {:>5}  {text}", self.name(), self.step);
        let path = self.folder.join("notes.txt");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(at(&path))?;
        writeln!(file, "{}\t{text}", self.step).map_err(at(&path))
    }

    fn name(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn write_log(&mut self, rate: f64) -> Result<(), TrainError> {
        let (sum, steps, tokens, since) = self.window;
        let loss = sum / steps as f64;
        let speed = tokens as f64 / since.elapsed().as_secs_f64();
        let elapsed = self.started.elapsed().as_secs_f64();
        eprintln!(
            "{} step {:>5}/{}  loss {loss:.4}  lr {rate:.2e}  {speed:.0} tokens/s",
            self.name(),
            self.step,
            self.stage.steps()
        );
        let path = self.folder.join("log.csv");
        writeln!(self.log, "{},{loss:.5},{rate:.3e},{speed:.0},{elapsed:.1}", self.step).map_err(at(path))?;
        self.window = (0.0, 0, 0, Instant::now());
        Ok(())
    }

    /// Writes model, optimiser and step, then the mark that makes them count.
    fn save(&self) -> Result<(), TrainError> {
        let fail = |path: &Path, error: String| TrainError::Checkpoint { path: path.into(), reason: error };
        let base = self.folder.join(format!("step-{:06}", self.step));
        let (model, optimizer) = (base.with_extension("model"), base.with_extension("optimizer"));
        self.model.clone().save_file(&model).map_err(|e| fail(&model, e.to_string()))?;
        self.optimizer.save(&optimizer).map_err(|e| fail(&optimizer, e.to_string()))?;
        let mark = self.folder.join("latest");
        let previous = std::fs::read_to_string(&mark).ok();
        std::fs::write(&mark, self.step.to_string()).map_err(at(&mark))?;
        // The previous checkpoint has served, but for the model at a cycle's end, of which the mean is made; a failure to
        // remove it costs disk space only.
        if let Some(previous) = previous.and_then(|text| text.trim().parse::<usize>().ok())
            && previous != self.step
        {
            let old = self.folder.join(format!("step-{previous:06}"));
            if !self.stage.ends().contains(&previous) {
                let _ = std::fs::remove_file(existing(&old.with_extension("model")));
            }
            let _ = std::fs::remove_file(existing(&old.with_extension("optimizer")));
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), TrainError> {
        let mark = self.folder.join("latest");
        let Ok(text) = std::fs::read_to_string(&mark) else { return Ok(()) };
        let step: usize = text
            .trim()
            .parse()
            .map_err(|_| TrainError::Checkpoint { path: mark, reason: "the mark is not a number".into() })?;
        let base = self.folder.join(format!("step-{step:06}"));
        self.model = load_model(&base.with_extension("model"), self.model.clone())?;
        let optimizer = base.with_extension("optimizer");
        self.optimizer = new_optimizer(&self.stage)
            .load(&optimizer)
            .map_err(|e| TrainError::Checkpoint { path: optimizer, reason: e.to_string() })?;
        self.step = step;
        eprintln!("{} goes on at step {step}", self.name());
        Ok(())
    }
}

/// burn may add its own ending to a file name.
fn existing(path: &Path) -> PathBuf {
    let mut with_ending = path.as_os_str().to_owned();
    with_ending.push(".bpk");
    let with_ending = PathBuf::from(with_ending);
    if with_ending.exists() { with_ending } else { path.to_path_buf() }
}

fn load_model(path: &Path, into: CodeGen) -> Result<CodeGen, TrainError> {
    into.try_load_file(path).map_err(|e| TrainError::Checkpoint { path: path.into(), reason: e.to_string() })
}

/// The model of a finished stage, on the given device: the mean of the models at the ends of its last cycles.
///
/// # Errors
/// [`TrainError::Missing`] where the stage has not run, or has not kept the end of a cycle.
pub fn finished(folder: &Path, stage: &Stage, config: &CodeGenConfig, device: &Device) -> Result<CodeGen, TrainError> {
    let mark = folder.join("latest");
    let text = std::fs::read_to_string(&mark).map_err(|_| TrainError::Missing(mark))?;
    let path = |step: &str| folder.join(format!("step-{step:0>6}.model"));
    let last = load_model(&path(text.trim()), CodeGen::random(config, device)?)?;
    if stage.average <= 1 {
        return Ok(last);
    }
    let ends = stage.ends();
    let before = ends.iter().rev().skip(1).take(stage.average.saturating_sub(1));
    let mut tensors = named_tensors(&last);
    let mut count = 1.0;
    for step in before {
        let path = path(&step.to_string());
        if !existing(&path).exists() {
            return Err(TrainError::Missing(path));
        }
        count += 1.0;
        for ((_, mean), (_, other)) in tensors.iter_mut().zip(named_tensors(&load_model(&path, last.clone())?)) {
            let moved = mean.iter::<f32>().zip(other.iter::<f32>()).map(|(mean, other)| mean + (other - mean) / count);
            *mean = TensorData::new(moved.collect::<Vec<f32>>(), mean.shape().clone());
        }
    }
    let mut builder = CodeGenBuilder::new(config.clone(), device.clone())?;
    for (name, mean) in tensors {
        builder.insert(&name, mean)?;
    }
    Ok(builder.build()?)
}

fn open_log(path: &Path) -> Result<File, TrainError> {
    let fresh = !path.exists();
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(at(path))?;
    if fresh {
        writeln!(file, "step,loss,learning_rate,tokens_per_second,seconds").map_err(at(path))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::{ModuleVisitor, Param};

    fn stage(cycles: &[usize]) -> Stage {
        Stage {
            cycles: cycles.to_vec(),
            average: 1,
            batch_tokens: 64,
            learning_rate: 0.02,
            warmup: 2,
            weight_decay: 0.05,
            checkpoint_every: 2,
        }
    }

    fn tiny() -> CodeGenConfig {
        CodeGenConfig {
            vocab_size: 16,
            n_positions: 8,
            n_embd: 16,
            n_layer: 2,
            n_head: 4,
            rotary_dim: 4,
            n_inner: None,
            layer_norm_epsilon: 1e-5,
            line_pointer_dim: Some(4),
        }
    }

    #[test]
    fn each_cycle_rises_and_falls() {
        let stage = stage(&[10, 6]);
        let rates: Vec<f64> = (0..16).map(|step| learning_rate(&stage, step)).collect();
        for cycle in [&rates[..10], &rates[10..]] {
            assert!((cycle[0] - 0.01).abs() < 1e-12 && (cycle[1] - 0.02).abs() < 1e-12, "{cycle:?}");
            assert!(cycle[2..].is_sorted_by(|a, b| a > b), "{cycle:?}");
        }
        assert!(rates[9] < 0.003 && rates[15] < 0.006, "{rates:?}");
        // Past the end the rate stays at its lowest.
        assert!((learning_rate(&stage, 99) - 0.001).abs() < 1e-12);
    }

    /// Muon falls back to AdamW without a word where a parameter has another name.
    #[test]
    fn muon_takes_exactly_the_matrices_of_the_blocks() {
        #[derive(Default)]
        struct Names {
            path: Vec<String>,
            taken: Vec<String>,
            matrices: usize,
        }
        impl ModuleVisitor for Names {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.path.push(name.into());
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.path.pop();
            }
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let path = self.path.join(".");
                self.matrices += usize::from(D == 2 && path.starts_with("h."));
                if block_matrices().matches(&param.id, Some(&path)) {
                    assert_eq!(D, 2, "{path}");
                    self.taken.push(path);
                }
            }
        }
        let mut names = Names::default();
        CodeGen::random(&tiny(), &Device::flex()).unwrap().visit(&mut names);
        assert_eq!(names.taken.len(), 8, "{:?}", names.taken);
        assert_eq!(names.matrices, 8);
        assert!(names.taken.iter().all(|path| path.starts_with("h.")), "{:?}", names.taken);
    }

    fn loss(model: &CodeGen, device: &Device) -> Result<Tensor<1>, TrainError> {
        use burn::tensor::{Int, TensorData, activation::log_softmax};
        let ids = |values: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values, [8]), device);
        let positions = cloister_model::Positions::causal(model.config(), 0, 8, device)?;
        let hidden = model.forward(ids((0..8).collect()).reshape([1, 8]), &positions);
        let logits = model.logits(hidden).reshape([8, 16]);
        Ok(log_softmax(logits, 1).gather(1, ids((1..9).collect()).reshape([8, 1])).mean().neg())
    }

    #[test]
    fn the_finished_model_is_the_mean_of_the_cycles_ends() {
        let device = Device::flex().autodiff();
        let plain = device.clone().inner();
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage { average: 2, checkpoint_every: 3, ..stage(&[4, 4, 5]) };
        let initial = CodeGen::random(&tiny(), &device).unwrap();
        let mut trainer = Trainer::start(folder.path(), &stage, initial).unwrap();
        let mut ends = Vec::new();
        while trainer.next_step().is_some() {
            trainer.apply(vec![(1.0, |model: &CodeGen| loss(model, &device))], 8).unwrap();
            if stage.ends().contains(&trainer.step) {
                ends.push(named_tensors(&trainer.model));
            }
        }
        assert_eq!(ends.len(), 3);
        let found = named_tensors(&finished(folder.path(), &stage, &tiny(), &plain).unwrap());
        for (tensor, (name, found)) in found.iter().enumerate() {
            let pairs = ends[1][tensor].1.iter::<f32>().zip(ends[2][tensor].1.iter::<f32>());
            for (value, (a, b)) in found.iter::<f32>().zip(pairs) {
                assert!((value - (a + b) / 2.0).abs() < 1e-6, "{name}: {value} of {a} and {b}");
            }
        }
        let last = finished(folder.path(), &Stage { average: 1, ..stage.clone() }, &tiny(), &plain).unwrap();
        assert!(named_tensors(&last)[0].1.iter::<f32>().eq(ends[2][0].1.iter::<f32>()));
        std::fs::remove_file(existing(&folder.path().join("step-000008.model"))).unwrap();
        assert!(matches!(finished(folder.path(), &stage, &tiny(), &plain), Err(TrainError::Missing(_))));
    }

    fn train(folder: &Path, initial: &CodeGen, until: usize, device: &Device) -> f64 {
        let mut trainer = Trainer::start(folder, &stage(&[12]), initial.clone()).unwrap();
        while trainer.next_step().is_some_and(|step| step < until) {
            let part = |model: &CodeGen| loss(model, device);
            trainer.apply(vec![(0.5, part), (0.5, part)], 16).unwrap();
        }
        f64::from(loss(&trainer.model, device).unwrap().into_scalar::<f32>())
    }

    #[test]
    fn a_run_that_was_cut_off_ends_as_one_that_was_not() {
        let device = Device::flex().autodiff();
        device.seed(7);
        let initial = CodeGen::random(&tiny(), &device).unwrap();
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let whole = train(folders[0].path(), &initial, 12, &device);
        train(folders[1].path(), &initial, 6, &device);
        // What it starts from does not matter: it goes on from the checkpoint.
        let resumed = train(folders[1].path(), &CodeGen::random(&tiny(), &device).unwrap(), 12, &device);
        let before = f64::from(loss(&initial, &device).unwrap().into_scalar::<f32>());
        assert!(whole < 0.5 * before, "{before} to {whole}");
        // Far from done, so that another course would show.
        assert!(whole > 0.1, "{whole}");
        assert!((whole - resumed).abs() < 1e-4, "{whole} {resumed}");
    }
}
