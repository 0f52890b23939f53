/** Terraform shares the prefix `TF_` with TensorFlow, and what people set for it (`TF_VAR_...`) is often a secret. */
const TERRAFORM =
  /^TF_(VAR|CLI|LOG|INPUT|DATA_DIR|WORKSPACE|IN_AUTOMATION|REGISTRY|PLUGIN|IGNORE|TOKEN|STATE|CLOUD|REATTACH|ENCRYPTION|APPEND|ACC)(_|$)/;
const LIBRARY = /^(TF|XLA|CUDA|NVIDIA|CUDNN|ONEDNN|DNNL|OMP|KMP|MKL|MALLOC|VK|MESA|DAWN)_/;

export function isTerraformVariable(name: string): boolean {
  return TERRAFORM.test(name);
}

/** Whether an environment variable speaks to the tensor library or to what lies below it. */
export function isLibraryVariable(name: string): boolean {
  return LIBRARY.test(name) && !isTerraformVariable(name);
}
