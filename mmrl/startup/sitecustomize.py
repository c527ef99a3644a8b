"""Python runs this when it starts with this folder on its path: processes that other programs start
import torchvision before they know of mmrl.
"""

from mmrl.compat import make_torchvision_importable

make_torchvision_importable()
