#!/bin/sh
# Makes every golden file again: ./make_all.sh GGUF_FOLDER ML_FOLDER, with the packages of requirements.txt on the path.
set -eu
cd "$(dirname "$0")"
export PYTHONHASHSEED=0 TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_OFFLINE=1
gguf=$1
movielens=$2
python golden_tokens.py "$gguf" "$movielens"
for model in tiny tiny-llama3 tiny-untied; do
  python golden_forward.py $model
  python golden_train.py $model
  python golden_beam.py $model
done
python golden_forward.py tiny-lora
python golden_beam.py tiny-lora
python golden_weights.py "$gguf"
python golden_forward.py smollm2 "$gguf"
python golden_train.py smollm2 "$gguf"
python golden_beam.py smollm2 "$gguf"
python golden_beam.py smollm2-movielens "$gguf" "$movielens"
python golden_sentencepiece.py
