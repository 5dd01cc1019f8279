"""Pages to text: pure functions (``html``, ``wikitext``), and a killable process around them (``isolated``).

What comes from the web is hostile or broken often enough that a parser hangs, eats all memory or crashes on some page
of every large crawl. The functions know nothing of that; whoever reads a crawl calls them through
:class:`data_tools.extraction.isolated.IsolatedExtractor`.
"""

from data_tools.extraction.html import Extracted, extract

__all__ = ["Extracted", "extract"]
