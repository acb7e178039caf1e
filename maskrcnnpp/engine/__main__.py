"""``python -m maskrcnnpp.engine``: tools/train_net.py from anywhere."""

from maskrcnnpp.engine.main import main
from maskrcnnpp.errors import exit_on_user_error

if __name__ == "__main__":
    with exit_on_user_error():
        main()
