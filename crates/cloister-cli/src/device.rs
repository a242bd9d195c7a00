//! From a package's folder to an engine on a device that computes what it should.

use crate::args::{DeviceChoice, ModelOptions};
use crate::error::CliError;
use crate::package;
use crate::progress::Steps;
use burn::tensor::Device;
use cloister_engine::{Backend, Engine};
use cloister_finetune::train::Place;
use cloister_package::fs::read_package_with;
use std::path::Path;

/// What to do with a GPU that a program simulates on the CPU: slower than the CPU path, and right for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Simulated {
    Taken,
    Refused,
}

/// Loads the package that the options mean to the device that they mean, and runs its self-test.
///
/// # Errors
/// [`CliError`] where there is no package, it is faulty, or the device that was asked for cannot be used.
pub fn open(options: &ModelOptions) -> Result<Engine, CliError> {
    let folder = package::find(options.package.as_deref())?;
    let cpu = || load(&folder, Device::flex(), Backend::Cpu, "this processor");
    match options.device {
        DeviceChoice::Cpu => cpu(),
        DeviceChoice::Gpu => gpu::open(&folder, Simulated::Taken),
        DeviceChoice::Auto => match gpu::open(&folder, Simulated::Refused) {
            Ok(engine) => Ok(engine),
            // A faulty package is faulty on the CPU too.
            Err(error @ CliError::Package { .. }) => Err(error),
            Err(error) => {
                let reason = match error {
                    CliError::NoGpu(reason) => reason,
                    other => other.to_string(),
                };
                eprintln!("cloister: running on the CPU, because {reason}");
                cpu()
            }
        },
    }
}

/// Where a model is trained.
///
/// # Errors
/// [`CliError::NoGpu`] where a GPU was asked for and there is none that can be used.
pub fn training(choice: DeviceChoice) -> Result<Place, CliError> {
    let on_gpu = |device| Place { device, threads: 1 };
    match choice {
        DeviceChoice::Cpu => Ok(Place::cpu()),
        DeviceChoice::Gpu => gpu::device(Simulated::Taken).map(on_gpu),
        DeviceChoice::Auto => match gpu::device(Simulated::Refused) {
            Ok(device) => Ok(on_gpu(device)),
            Err(error) => {
                eprintln!("cloister: training on the CPU, because {error}");
                Ok(Place::cpu())
            }
        },
    }
}

fn load(folder: &Path, device: Device, backend: Backend, adapter: &str) -> Result<Engine, CliError> {
    let steps = Steps::bytes("Loading the model");
    let package = read_package_with(folder, device, |done, total| steps.at(done, total))
        .map_err(|source| CliError::Package { folder: folder.into(), source })?;
    steps.finish();
    let mut engine = Engine::new(package, backend, adapter)?;
    pollster::block_on(engine.self_test())?;
    Ok(engine)
}

#[cfg(not(feature = "gpu"))]
mod gpu {
    use super::{CliError, Device, Engine, Path, Simulated};

    pub fn open(_: &Path, _: Simulated) -> Result<Engine, CliError> {
        Err(missing())
    }

    pub fn device(_: Simulated) -> Result<Device, CliError> {
        Err(missing())
    }

    fn missing() -> CliError {
        CliError::NoGpu("this program was built without GPU support".into())
    }
}

#[cfg(feature = "gpu")]
mod gpu {
    use super::{Backend, CliError, Device, Engine, Path, Simulated, load};
    use burn::tensor::wgpu::wgpu;
    use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

    /// An engine on the adapter that wgpu prefers.
    ///
    /// Drivers fail in many ways and some of them end in a panic below: it is caught, and is the reason for the CPU.
    pub fn open(folder: &Path, simulated: Simulated) -> Result<Engine, CliError> {
        guarded(|| {
            let (device, adapter) = start(simulated)?;
            load(folder, device, Backend::Webgpu, &adapter)
        })
    }

    /// The device of the adapter that wgpu prefers.
    pub fn device(simulated: Simulated) -> Result<Device, CliError> {
        guarded(|| start(simulated).map(|(device, _)| device))
    }

    fn start(simulated: Simulated) -> Result<(Device, String), CliError> {
        let adapter = adapter(simulated)?;
        let device = Device::wgpu_options()
            .init()
            .map_err(|error| CliError::NoGpu(format!("it cannot be started ({error})")))?;
        Ok((device, adapter))
    }

    fn guarded<T>(work: impl FnOnce() -> Result<T, CliError>) -> Result<T, CliError> {
        let hook = take_hook();
        set_hook(Box::new(|_| {}));
        let result = catch_unwind(AssertUnwindSafe(work));
        set_hook(hook);
        result.unwrap_or_else(|panic| {
            let text =
                panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            let first = text.and_then(|text| text.lines().next()).unwrap_or("no reason was given");
            Err(CliError::NoGpu(format!("its driver failed ({first})")))
        })
    }

    /// The name of the preferred adapter.
    fn adapter(simulated: Simulated) -> Result<String, CliError> {
        let instance = wgpu::Instance::default();
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..wgpu::RequestAdapterOptions::default()
        };
        let adapter = pollster::block_on(instance.request_adapter(&options))
            .map_err(|_| CliError::NoGpu("there is none that this program can use".into()))?;
        let info = adapter.get_info();
        if info.device_type == wgpu::DeviceType::Cpu && simulated == Simulated::Refused {
            return Err(CliError::NoGpu(format!("the only one is simulated in software ({})", info.name)));
        }
        Ok(format!("{} ({})", info.name, info.backend))
    }
}
