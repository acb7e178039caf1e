import os

# before CUDA is looked for: the tests compare exact numbers, whatever GPU is there
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import hypothesis  # noqa: E402
import torch  # noqa: E402

# tiny tensors: a second thread costs more than it brings, most of all on a busy machine
torch.set_num_threads(1)

# a busy machine is no failure
hypothesis.settings.register_profile("maskrcnnpp", deadline=None)
hypothesis.settings.load_profile("maskrcnnpp")
