/** Why a GPU that is there is not used, and what to do. */
export interface GpuTrouble {
  found: string;
  advice: string;
}

const WITHOUT = 'Or do without CUDA: --backend webgpu computes on the GPU with its driver alone, and auto takes it.';

/** What TensorFlow prints while it looks for GPUs, as it has for its CUDA builds, and what each of them means. */
const TROUBLES: { pattern: RegExp; found: (match: RegExpExecArray, text: string) => string; fix: string }[] = [
  {
    pattern: /Loaded runtime CuDNN library: (\S+) but source was compiled with: (\d+[\d.]*\d)/,
    found: (match) => `cuDNN ${match[1]} is installed, and TensorFlow was built for ${match[2]}`,
    fix: 'Install the cuDNN that it was built for, or a later one of the same major version, and let LD_LIBRARY_PATH name its folder.',
  },
  {
    pattern: /driver version is insufficient for CUDA runtime version|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH/,
    found: () => 'the NVIDIA driver is too old for the CUDA that TensorFlow was built for',
    fix: 'Update the driver (nvidia-smi shows the newest CUDA that it knows), and restart the machine.',
  },
  {
    pattern: /failed call to cuInit:?\s*(.*)/i,
    found: (match) => `the NVIDIA driver does not answer (${match[1]})`,
    fix: 'See whether nvidia-smi works and CUDA_VISIBLE_DEVICES names the GPU; a container needs --gpus all.',
  },
  {
    pattern: /Cannot dlopen some GPU libraries|Could not load dynamic library '/,
    found: (_, text) => {
      const names = [...new Set(text.match(/\blib(?:cu|nv|nccl)[\w-]*\.so[.\d]*/g))];
      return `libraries of CUDA are missing${names.length > 0 ? `: ${names.join(', ')}` : ''}`;
    },
    fix: 'Install CUDA 12 and cuDNN 9 (as pip packages: nvidia-*-cu12), and let LD_LIBRARY_PATH name their lib folders.',
  },
  {
    pattern: /Could not find cuda drivers/,
    found: () => 'the library of the NVIDIA driver (libcuda.so.1) is not found',
    fix: 'Install the driver; a container needs the NVIDIA container toolkit and --gpus all.',
  },
];

/** Why TensorFlow computes on the processor of a machine with an NVIDIA GPU, from what it has printed. */
export function gpuTrouble(printed: string): GpuTrouble {
  for (const { pattern, found, fix } of TROUBLES) {
    const match = pattern.exec(printed);
    if (match) return { found: found(match, printed), advice: `${fix} ${WITHOUT}` };
  }
  return { found: 'TensorFlow does not say why', advice: `See that nvidia-smi works. ${WITHOUT}` };
}
