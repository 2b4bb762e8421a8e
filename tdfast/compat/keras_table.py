"""What of Keras is not in tdfast, why not, and what to use: the tables of docs/keras.md; a test compares
both.

A row is (where, names, why or what instead). `tdfast.compat.absent` shows it to whoever asks for such a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = (
    ("(top)",
     "KerasTensor, Function, Operation",
     "the inside of graphs: `Model(inputs, outputs)` makes a model of the calls of layers on `Input(...)`"),
    ("(top)",
     "tree",
     "nested structures: a layer takes one array"),
    ("(top)",
     "StatelessScope, SymbolicScope, RematScope, remat, device, name_scope",
     "a framework's inside: layers are NumPy and kernels, on one processor's threads"),
    ("(top)",
     "DTypePolicy, FloatDTypePolicy, dtype_policies, mixed_precision, Quantizer, quantizers",
     "a layer computes in its dtype, float32 or float64"),
    ("(top)",
     "InputSpec",
     "a layer of your own checks its `input_shape` in `build`"),
    ("(top)",
     "applications, distillation, visualization, export",
     "models and tools for images or for other packages; `saving.export_onnx` and "
     "`saving.export_c` export"),
    ("distribution",
     "ModelParallel, DeviceMesh, LayoutMap, TensorLayout, distribute_tensor",
     "one model cut over several processes; `DataParallel` trains a whole one in each"),
    ("layers",
     "ReversibleEmbedding",
     "`Embedding`, and `Dense` or `EinsumDense` for the way back"),
    ("layers",
     "InputSpec",
     "a layer of your own: docs/layers.md"),
    ("layers",
     "AugMix, AutoContrast, CenterCrop, ContrastLimitedAdaptiveHistogramEqualization, CutMix, "
     "Equalization, MaxNumBoundingBoxes, MixUp, Pipeline, RandAugment, RandomBrightness, "
     "RandomColorDegeneration, RandomColorJitter, RandomContrast, RandomCrop, RandomElasticTransform,"
     " RandomErasing, RandomFlip, RandomGaussianBlur, RandomGrayscale, RandomHue, RandomInvert, "
     "RandomPerspective, RandomPosterization, RandomRotation, RandomSaturation, RandomSharpness, "
     "RandomShear, RandomTranslation, RandomZoom, Resizing, Solarization",
     "images are changed before training"),
    ("layers",
     "FlaxLayer, JaxLayer, TFSMLayer, TorchModuleWrapper",
     "they wrap other frameworks"),
    ("optimizers",
     "LossScaleOptimizer",
     "float32 and float64 need no loss scaling"),
    ("callbacks",
     "OrbaxCheckpoint",
     "JAX's file format; `ModelCheckpoint` and `BackupAndRestore`"),
    ("callbacks",
     "RemoteMonitor",
     "it sends logs over HTTP: a `LambdaCallback` with a client of your choice"),
    ("utils",
     "array_to_img, img_to_array, load_img, save_img, image_dataset_from_directory, "
     "audio_dataset_from_directory",
     "files of images and sound: Pillow, soundfile, and a `PyDataset`"),
    ("utils",
     "FeatureSpace, Config",
     "tables: pandas and scikit-learn; settings: a dict"),
    ("utils",
     "get_source_inputs, is_keras_tensor",
     "the inside of graphs: `model.inputs` has the tensors that a model begins with"),
    ("utils",
     "model_to_dot",
     "`plot_model` draws with matplotlib"),
    ("utils",
     "standardize_dtype",
     "`np.dtype(x).name`"),
    ("preprocessing",
     "image_dataset_from_directory",
     "as in utils"),
    ("saving",
     "KerasFileEditor",
     "a .keras file is a zip file"),
    ("config",
     "dtype_policy, set_dtype_policy, set_backend, is_nnx_enabled, enable_flash_attention, "
     "disable_flash_attention, is_flash_attention_enabled",
     "there is one backend"),
    ("config",
     "epsilon, set_epsilon",
     "layers and optimizers have an `epsilon`; losses keep away from log(0) by 1e-7"),
    ("config",
     "image_data_format, set_image_data_format",
     "data are channels_last"),
    ("config",
     "max_epochs, set_max_epochs, max_steps_per_epoch, set_max_steps_per_epoch",
     "`fit` has `epochs` and `steps_per_epoch`"),
    ("config",
     "enable_traceback_filtering, disable_traceback_filtering, is_traceback_filtering_enabled",
     "tracebacks are short"),
    ("config",
     "enable_unsafe_deserialization",
     "nothing unsafe is there to enable"),
    ("ops",
     "associative_scan, jvp",
     "`scan`, and `grad` for derivatives"),
    ("ops",
     "adaptive_average_pool, adaptive_max_pool",
     "the layers of these names, which may be called within your own code"),
    ("ops",
     "cholesky_inverse, lu_factor, eig",
     "`inv` and `solve`; `eigh` for symmetric matrices"),
    ("ops",
     "ctc_loss, ctc_decode",
     "`tdfast.losses.CTC`"),
    ("ops",
     "depth_to_space, space_to_depth, fold, unfold",
     "for images: `reshape` and `transpose`"),
    ("ops",
     "stft, istft, angle, conj, conjugate, imag, real, polar, "
     "view_as_complex, view_as_real, i0",
     "pairs (real, imaginary) are complex numbers, and `STFTSpectrogram` is a layer"),
    ("ops",
     "rearrange, view",
     "`reshape` and `transpose`, `cast`"),
)
"""Public names of Keras 3.15, by module; "(top)" is `keras` itself."""

OLDER = (
    ("(top)",
     "keras",
     "tdfast is used as `keras` itself is: `from tdfast import Sequential, layers`"),
    ("(top)",
     "estimator, experimental",
     "they left Keras"),
    ("(top)",
     "GradientTape",
     "`tdfast.ops.value_and_grad(function, variables)` gives a loss and its gradients: docs/own.md"),
    ("layers",
     "CuDNNLSTM, CuDNNGRU",
     "`LSTM` and `GRU`"),
    ("layers",
     "AbstractRNNCell",
     "`Cell`"),
    ("layers",
     "ThresholdedReLU",
     "`ReLU(threshold=...)`"),
    ("layers",
     "TimeDistributedDense",
     "`TimeDistributed(Dense(...))`"),
    ("layers",
     "Merge, merge",
     "`Add`, `Concatenate` and the other layers that join several inputs"),
    ("layers",
     "LocallyConnected1D, LocallyConnected2D, Highway, MaxoutDense, DenseFeatures, experimental",
     "they left Keras"),
    ("callbacks",
     "BaseLogger",
     "the logs of an epoch are means without it"),
    ("losses",
     "cosine_proximity",
     "`cosine_similarity`"),
    ("metrics",
     "cosine_proximity",
     "`CosineSimilarity`"),
    ("models",
     "model_from_yaml, model_from_config",
     "`model_from_json`, `Sequential.from_config`"),
    ("optimizers",
     "legacy, experimental",
     "the optimizers themselves, such as `Adam`"),
    ("preprocessing",
     "image",
     "images are made numbers before training"),
    ("preprocessing.sequence",
     "TimeseriesGenerator",
     "`timeseries_dataset_from_array`, or `tdfast.utils.windows`"),
    ("preprocessing.sequence",
     "make_sampling_table, skipgrams",
     "texts are made numbers before training"),
    ("utils",
     "np_utils",
     "`to_categorical` and `normalize` are in `utils`"),
    ("utils",
     "generic_utils, multi_gpu_model, OrderedEnqueuer, GeneratorEnqueuer",
     "they left Keras; `fit` takes generators and a `PyDataset`"),
)
"""Names of older versions of Keras, by module."""

MEMBERS = (
    (
        "layers",
        "get_input_at, get_output_at, get_input_shape_at, get_output_shape_at, inbound_nodes, "
        "outbound_nodes, symbolic_call, compute_output_spec",
        "the inside of graphs: `layer.input` and `layer.output` are the tensors of its first call",
    ),
    ("layers", "input_spec", "`input_shape`; a layer of your own checks its `input_shape` in `build`"),
    (
        "layers",
        "add_metric, add_update, updates",
        "metrics belong to `compile`, and what a layer counts to its weights",
    ),
    ("layers", "metrics, metrics_variables", "metrics belong to the model: `model.metrics`"),
    ("layers", "add_variable", "`add_weight`"),
    (
        "layers",
        "dtype_policy, compute_dtype, variable_dtype, input_dtype",
        "a layer computes in its `dtype`, which is that of its weights",
    ),
    (
        "layers",
        "quantize, quantized_build, quantized_call, quantization_mode, enable_lora, rematerialized_call",
        "weights are float32 or float64, and a layer computes in these",
    ),
    ("layers", "stateless_call", "a framework's inside: `layer(x)` calls a layer"),
    ("layers", "path", "`name`; the weights have a `path`"),
    (
        "layers",
        "load_own_variables, save_own_variables, get_build_config, build_from_config",
        "`get_weights`, `set_weights` and `get_config` are what files hold",
    ),
    (
        "models",
        "fit_generator, evaluate_generator, predict_generator",
        "`fit`, `evaluate` and `predict` take generators",
    ),
    (
        "models",
        "predict_classes",
        "`model.predict(x).argmax(axis=-1)`, or for one sigmoid `(model.predict(x) > 0.5).astype(int)`",
    ),
    ("models", "predict_proba", "`predict`"),
    ("models", "fit_on_batch, evaluate_on_batch", "`train_on_batch`, `test_on_batch`"),
    (
        "models",
        "make_train_function, make_test_function, make_predict_function, train_function, "
        "test_function, predict_function, jit_compile, run_eagerly, jax_state_sync, get_state_tree, "
        "set_state_tree, distribute_strategy",
        "how a framework runs a step: `train_on_batch`, `test_on_batch` and `predict_on_batch` run one",
    ),
    (
        "models",
        "compute_loss_and_updates, stateless_compute_loss",
        "`compute_loss`, and `tdfast.ops.value_and_grad` for gradients",
    ),
    (
        "models",
        "get_compile_config, compile_from_config",
        "`to_json` has how the model was compiled, and `save` too",
    ),
    ("models", "export", "`tdfast.saving.export_onnx` and `tdfast.saving.export_c`"),
    ("models", "to_yaml", "`to_json`"),
    ("models", "get_quantization_layer_structure", "weights are float32 or float64"),
    (
        "optimizers",
        "minimize, compute_gradients, get_gradients, get_updates, stateless_apply",
        "`fit` and `train_on_batch` make the steps; in a loop of your own `apply(grads, variables)`",
    ),
    (
        "optimizers",
        "add_slot, get_slot",
        "`add_variable_from_reference`, or `slot_names` and `update(w, grad, slots)`",
    ),
    (
        "optimizers",
        "get_weights, load_own_variables, save_own_variables",
        "`variables`; files and copies of a model hold the optimizer's state",
    ),
    (
        "metrics",
        "stateless_reset_state, stateless_result, stateless_update_state",
        "`reset_state`, `result` and `update_state`",
    ),
    (
        "datasets",
        "window, flat_map, interleave, padded_batch, ragged_batch, dense_to_ragged_batch, rebatch, "
        "group_by_window, "
        "bucket_by_sequence_length, scan, reduce, unique, shard, rejection_resample, random, "
        "choose_from_datasets, "
        "sample_from_datasets",
        "write a generator over the batches, or index the arrays of `tdfast.utils.windows`",
    ),
    (
        "datasets",
        "save, load, snapshot, options, with_options, from_generator, from_tensor_slices, from_tensors, "
        "ignore_errors",
        "batches are views of arrays in memory: `fit` takes arrays, generators and a `PyDataset` as well",
    ),
    ("metrics", "reset_states", "`reset_state`"),
    ("metrics", "interpolate_pr_auc", '`AUC(curve="PR")` does so in `result`'),
)
"""Members of Keras's layers, models (which have those of layers too), optimizers and metrics."""

ARGUMENTS = (
    ("fit, evaluate, predict",
     "workers, use_multiprocessing, max_queue_size",
     "they are arguments of a `PyDataset`"),
    ("Dense, EinsumDense, Embedding, Conv1D, Conv2D, Conv3D",
     "lora_rank, lora_alpha",
     "weights are float32 or float64, and all of them learn"),
    ("Layer",
     "autocast",
     "a layer converts its inputs to its `dtype`"),
    ("Layer",
     "weights",
     "`layer.set_weights(...)` once it is built, or an initializer: an array is one"),
    ("save_weights",
     "max_shard_size",
     "a file holds all weights"),
    ("circle",
     "ref_labels, ref_embeddings",
     "each sample is compared with the others of its batch"),
    ("plot_model",
     "splines",
     "matplotlib draws it"),
    ("timeseries_dataset_from_array, text_dataset_from_directory",
     "format",
     "the batches are NumPy arrays"),
    ("split_dataset",
     "preferred_backend",
     "the parts are NumPy arrays"),
)
"""Arguments of Keras's functions and classes, these with their subclasses."""


def of_argument(owners: Sequence[Any], names: Sequence[Any]) -> str:
    """What the end of an error says of arguments in the table; nothing if none is there.

    >>> of_argument(["fit"], ["workers"])
    " Of 'workers': they are arguments of a `PyDataset`. See docs/keras.md."
    """
    told = [f" Of '{name}': {why}." for name in names for where, known, why in ARGUMENTS
            if name in known.split(", ") and not set(owners).isdisjoint(where.split(", "))]
    return "".join(told) + " See docs/keras.md." * bool(told)
