"""HTML pages for people: ``page.page`` makes that of one recalibration; ``template`` holds what others share."""
