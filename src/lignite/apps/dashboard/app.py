"""The script that Streamlit runs for every reader, after every click; started by `lignite dashboard`."""

import sys

from lignite.apps.dashboard.page import Offer, draw

if __name__ == "__main__":
    draw(Offer.read(sys.argv[1:]))
