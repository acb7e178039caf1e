import os

# before CUDA is looked for: the tests compare exact numbers, whatever GPU is there
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch  # noqa: E402

# tiny tensors: a second thread costs more than it brings, most of all on a busy machine
torch.set_num_threads(1)
